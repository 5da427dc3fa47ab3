"""Orders that are sent many times at the same moment: a key is one instance, whatever happens."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gpukeeper.domain.errors import KeyReused
from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.service import OrderFailed, View
from gpukeeper.service.ordering import BuyerElsewhere
from tests import invariants
from tests.engine.rig import ORDER, Rig

KEYS = [f"key-{number}" for number in range(5)]
SENDERS = 20


async def all_of(rig: Rig, orders: Sequence[Awaitable[View]]) -> list[Any]:
    """Send orders at the same moment and return each one's answer or error."""
    tasks = [asyncio.ensure_future(order) for order in orders]
    while not all(task.done() for task in tasks):
        await rig.work()
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def rows(rig: Rig) -> list[Instance]:
    """Return every row of the store."""
    return await rig.database.read(invariants.stored)


def send(rig: Rig, key: str, body_hash: str = "b") -> Coroutine[Any, Any, View]:
    """Order under a key."""
    order = replace(ORDER, name=f"{key}-{body_hash}")
    return rig.service.order(order, idempotency_key=key, body_hash=body_hash)


async def test_a_hundred_orders_under_five_keys_are_five_instances_with_a_machine_each(
    rig: Rig,
) -> None:
    answers = await all_of(rig, [send(rig, key) for _ in range(SENDERS) for key in KEYS])
    assert len({view.instance.id for view in answers}) == len(KEYS)
    assert len(await rows(rig)) == len(rig.machines()) == rig.calls("create") == len(KEYS)
    await rig.advance(minutes=3)
    assert await rig.broken_at_rest() == []


async def test_they_are_bought_once_even_if_every_answer_of_novitas_is_lost(rig: Rig) -> None:
    rig.fault("reset", "create", when="after", times=len(KEYS))
    await all_of(rig, [send(rig, key) for _ in range(SENDERS) for key in KEYS])
    await rig.advance(minutes=3)
    await all_of(rig, [send(rig, key) for key in KEYS])
    assert len(await rows(rig)) == len(rig.machines()) == rig.calls("create") == len(KEYS)
    assert {row.machine.novita_id for row in await rows(rig)} == set(rig.machines())
    assert await rig.broken_at_rest() == []


async def test_of_different_bodies_under_one_key_the_first_wins_and_the_rest_are_refused(
    rig: Rig,
) -> None:
    bodies = [f"body-{number}" for number in range(SENDERS)]
    answers = await all_of(rig, [send(rig, "key", body) for body in bodies])
    kinds = Counter(type(answer) for answer in answers)
    assert kinds == {View: 1, KeyReused: SENDERS - 1}
    assert len(await rows(rig)) == len(rig.machines()) == 1


async def test_an_order_that_failed_fails_everyone_who_sent_it_and_is_not_tried_again(
    rig: Rig,
) -> None:
    rig.fate("no-balance")
    answers = await all_of(rig, [send(rig, "key") for _ in range(SENDERS)])
    assert {type(answer) for answer in answers} == {OrderFailed}
    assert {answer.instance.id for answer in answers} == {row.id for row in await rows(rig)}
    (later,) = await all_of(rig, [send(rig, "key")])
    assert later.error_code == "insufficient_balance"
    assert (rig.machines(), rig.calls("create")) == ([], 1)


async def test_an_order_that_novita_could_not_take_is_bought_once_when_it_is_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[str] = []
    all_wait = asyncio.Event()
    watch = rig.service.nudges.watch

    def count(instance_id: str) -> Any:
        waiting.append(instance_id)
        if len(waiting) == SENDERS:
            all_wait.set()
        return watch(instance_id)

    monkeypatch.setattr(rig.service.nudges, "watch", count)
    # All have asked before anybody begins to buy: whoever comes after the failure tries anew.
    elsewhere = replace(rig.service.ordering, buyer=BuyerElsewhere())
    rig.service = replace(rig.service, ordering=elsewhere)
    # So long a pause is not waited for: no sender moves the clock of the others.
    rig.fault("html", "products", status=503, retry_after=90, for_seconds=120)
    senders = [asyncio.create_task(send(rig, "key")) for _ in range(SENDERS)]
    await all_wait.wait()
    answers = await all_of(rig, senders)
    assert {answer.error_code for answer in answers} == {"novita_rate_limited"}
    assert len(await rows(rig)) == 1
    await rig.advance(minutes=3)
    again = await all_of(rig, [send(rig, "key") for _ in range(SENDERS)])
    assert {view.instance.machine.novita_id for view in again} == set(rig.machines())
    assert (len(await rows(rig)), rig.calls("create")) == (2, 1)
    await rig.advance(minutes=3)
    assert await rig.broken_at_rest() == []


async def test_an_order_whose_answer_was_lost_keeps_its_key_when_it_fails(rig: Rig) -> None:
    rig.fault("reset", "create", when="before", times=1)
    (first,) = await all_of(rig, [send(rig, "key")])
    rig.fault("html", "products", status=503, for_seconds=1200)
    await rig.advance(minutes=15)
    (failed,) = await rows(rig)
    assert (failed.status, failed.purchase.has_lost_answer) == (Status.FAILED, True)
    (again,) = await all_of(rig, [send(rig, "key")])
    assert again.instance.id == first.instance.id
    assert len(await rows(rig)) == 1


async def test_a_key_outlives_its_machine(rig: Rig) -> None:
    (first,) = await all_of(rig, [send(rig, "key")])
    await rig.service.want(first.instance.id, Command.DELETE)
    await rig.advance(minutes=5)
    (again,) = await all_of(rig, [send(rig, "key")])
    assert again.instance.id == first.instance.id
    assert (rig.machines(), rig.calls("create")) == ([], 1)


async def test_equal_orders_without_a_key_are_as_many_instances(rig: Rig) -> None:
    answers = await all_of(rig, [rig.service.order(ORDER) for _ in range(SENDERS)])
    names = {view.instance.novita_name for view in answers}
    assert len(names) == len(rig.machines()) == SENDERS
