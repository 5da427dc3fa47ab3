"""A clock that was set back by hours: nothing waits until it has caught up."""

from datetime import timedelta

from sqlalchemy import update

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Command, Status
from gpukeeper.store import tables
from tests.engine.rig import Rig

STEP = timedelta(hours=2)


def set_back(rig: Rig) -> None:
    """Set our clock back, and not Novita's: its machines live on."""
    rig.clock.at -= STEP
    rig.world.clock.advance(STEP)


async def test_a_lost_answer_is_looked_up_all_the_same(rig: Rig) -> None:
    rig.fault("reset", "create", when="after", times=1)
    rig.fault("empty-list", "list", for_seconds=9)
    ordered = await rig.order()
    await rig.advance(seconds=5)
    set_back(rig)
    await rig.advance(minutes=4)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert rig.machines() == [(await rig.find(ordered.id)).machine.novita_id]
    assert await rig.broken_at_rest() == []


async def test_a_delete_is_repeated_and_confirmed_all_the_same(rig: Rig) -> None:
    running = await rig.running()
    rig.fault("reset", "delete", when="before", times=2)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(seconds=1)
    set_back(rig)
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert rig.machines() == []
    assert await rig.broken_at_rest() == []


async def test_a_start_fails_in_its_time_all_the_same(rig: Rig) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order()
    await rig.advance(seconds=30)
    set_back(rig)
    await rig.advance(minutes=12)
    assert (await rig.find(ordered.id)).status is Status.FAILED


async def test_a_machine_that_vanishes_is_noticed_all_the_same(rig: Rig) -> None:
    running = await rig.running()
    set_back(rig)
    rig.console(running, "vanish")
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.LOST


async def test_a_delivery_is_retried_all_the_same(rig: Rig) -> None:
    rig.receiver.answer = lambda url: 503
    await rig.order()
    await rig.work()
    set_back(rig)
    rig.receiver.answer = lambda url: 204
    await rig.advance(minutes=2)
    assert set(await rig.delivery_statuses()) == {DeliveryStatus.DELIVERED}
    assert await rig.broken_at_rest() == []


async def test_the_lease_of_a_dead_worker_ends_all_the_same(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    until = rig.clock() + timedelta(seconds=20)
    await rig.database.write(
        lambda c: c.execute(
            update(tables.instances).values(lease_token="dead", lease_until=until)
        ).close()
    )
    set_back(rig)
    await rig.advance(minutes=3)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert await rig.broken_at_rest() == []


async def test_leases_under_way_are_renewed_all_the_same(rig: Rig) -> None:
    leasing = rig.engine.buyer.leasing
    await leasing.renew(rig.clock())
    before = leasing.renewed_at
    rig.clock.at -= STEP
    await leasing.renew(rig.clock())
    assert leasing.renewed_at == rig.clock() != before


async def test_prices_are_not_kept_for_longer(rig: Rig) -> None:
    await rig.order(name="first")
    before = rig.calls("products")
    set_back(rig)
    await rig.order(name="second")
    assert rig.calls("products") > before


async def test_a_clock_that_is_off_by_seconds_changes_no_row(rig: Rig) -> None:
    running = await rig.running()
    before = await rig.find(running.id)
    rig.clock.at -= timedelta(seconds=5)
    await rig.advance(minutes=1)
    assert await rig.find(running.id) == before
