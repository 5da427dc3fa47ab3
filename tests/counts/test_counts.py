"""What a request, an order, a look and a webhook cost, counted: times depend on the machine."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gpukeeper.domain.instances import Status
from tests.counts.counting import Counts, counting
from tests.engine.rig import ORDER, Rig, build_rig

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Give an engine on SQLite, with no loop running: whatever is done was asked for."""
    rig = build_rig(tmp_path)
    yield rig
    await rig.close()


async def order(rig: Rig, number: int = 0) -> None:
    """Order as a request does; who buys is told at once."""
    await rig.service.order(ORDER, idempotency_key=f"key-{number}")
    await rig.engine.buyer.workers.drain(MINUTE)


async def test_an_order_costs_one_call_to_novita_and_two_commits(rig: Rig) -> None:
    await order(rig)
    with counting(rig) as counts:
        await order(rig, 1)
    # Commits: the order with the intent to buy, the machine.
    assert (counts.novita_calls, counts.writes, counts.commits) == (1, 6, 2)


async def test_an_order_with_an_unknown_catalog_asks_for_each_part_once(rig: Rig) -> None:
    with counting(rig) as counts:
        await order(rig)
    # Clusters, products, the template, and the purchase.
    # Commits: the order with the intent to buy, the machine.
    assert (counts.novita_calls, counts.commits) == (4, 2)


async def test_a_webhook_costs_two_commits(rig: Rig) -> None:
    await order(rig)
    with counting(rig) as counts:
        await rig.engine.deliverer.turn()
        await rig.engine.deliverer.workers.drain(MINUTE)
    assert len(rig.receiver.sent) == 1
    assert (counts.novita_calls, counts.commits) == (0, 2)


async def test_a_look_at_what_has_not_changed_asks_once_and_writes_no_instance(rig: Rig) -> None:
    for number in range(5):
        await order(rig, number)
    await rig.engine.sweep.look()
    with counting(rig) as counts:
        await rig.engine.sweep.look()
    # Who looks, and how it went.
    assert (counts.novita_calls, counts.writes, counts.commits) == (1, 3, 2)


async def test_a_look_stores_all_that_has_changed_in_one_commit(rig: Rig) -> None:
    # The first of all notes which simulator it is.
    await rig.engine.sweep.look()
    for number in range(5):
        await order(rig, number)
    rig.clock.at += timedelta(minutes=2)
    with counting(rig) as counts:
        await rig.engine.sweep.look()
    page = await rig.service.instances(statuses=[Status.RUNNING], limit=9)
    assert page.total == 5
    assert (counts.novita_calls, counts.commits) == (1, 3)


async def test_showing_an_instance_reads_twice_and_asks_novita_nothing(rig: Rig) -> None:
    await order(rig)
    (view,) = (await rig.service.instances(limit=9)).views
    with counting(rig) as counts:
        await rig.service.instance(view.instance.id)
    assert counts == Counts(reads=2)


async def test_what_was_shown_is_shown_again_without_reading_until_something_is_written(
    rig: Rig,
) -> None:
    await order(rig)
    (view,) = (await rig.service.instances(limit=9)).views
    await rig.service.instance(view.instance.id)
    with counting(rig) as counts:
        await rig.service.instance(view.instance.id)
        await rig.service.instances(limit=9)
    assert counts == Counts()
    await rig.engine.sweep.look()
    with counting(rig) as counts:
        await rig.service.instance(view.instance.id)
    assert counts == Counts(reads=2)


async def test_a_page_of_instances_reads_three_times_whatever_its_length(rig: Rig) -> None:
    for number in range(5):
        await order(rig, number)
    with counting(rig) as counts:
        await rig.service.instances(limit=100)
    assert counts == Counts(reads=3)
