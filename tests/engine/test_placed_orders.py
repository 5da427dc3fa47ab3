"""A new order goes straight to a worker of the process that stores it, and to nobody twice."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.instances import Status
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.leases import LEASE_DURATION
from gpukeeper.engine.loop import Workers
from gpukeeper.service.ordering import BuyerElsewhere
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.telemetry import get_logger
from tests.engine.conftest import Build
from tests.engine.rig import ORDER, Rig
from tests.instances import edit

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
NOBODY = timedelta(0)


async def test_an_order_is_bought_without_a_turn_of_the_loop(rig: Rig) -> None:
    view = await rig.service.order(ORDER)
    assert view.instance.status is Status.CREATING
    assert rig.machines() == [view.instance.machine.novita_id]
    await rig.engine.buyer.workers.drain(MINUTE)
    # It was given back: the loop has nothing to do with it.
    assert rig.engine.buyer.workers.held == {}
    assert await rig.broken() == []


async def test_what_is_known_is_stored_as_the_intent_to_buy_with_the_order(rig: Rig) -> None:
    await rig.order()
    never = replace(rig.service.ordering, patience=NOBODY)
    hung = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> str:
        await hung.wait()
        raise AssertionError("nobody lets it go on")

    rig.novita.create = hang  # type: ignore[method-assign]  # an answer that never comes
    row, is_new = await never.place(ORDER)
    stored = await rig.find(row.id)
    assert is_new
    assert stored.purchase.intent is not None
    assert stored.status is Status.REQUESTED
    assert rig.engine.buyer.workers.held.keys() == {row.id}
    await rig.engine.buyer.workers.drain(NOBODY)


async def test_what_is_not_known_is_asked_for_once_before_the_order_is_stored(rig: Rig) -> None:
    await rig.service.order(ORDER)
    for route in ("clusters", "products", "template"):
        assert rig.calls(route) == 1


async def test_an_order_that_could_not_be_stored_is_not_bought(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(self: Database, unit: Any) -> Any:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", unavailable)
        with pytest.raises(StoreUnavailable):
            await rig.service.order(ORDER)
    await rig.work()
    assert (rig.machines(), rig.engine.buyer.workers.held) == ([], {})
    assert rig.engine.buyer.workers.room == rig.engine.buyer.workers.limit


async def test_a_row_is_taken_over_when_who_stored_it_has_died(rig: Rig, build: Build) -> None:
    other = build(beside=rig)
    await rig.order()

    async def die(*_: Any, **__: Any) -> str:
        raise RuntimeError("as if the process had ended")

    rig.novita.create = die  # type: ignore[method-assign]  # nothing is asked of Novita
    row, _ = await replace(rig.service.ordering, patience=NOBODY).place(ORDER)
    await rig.engine.buyer.workers.drain(MINUTE)
    await other.engine.buyer.turn()
    assert other.engine.buyer.workers.held == {}
    rig.clock.at += LEASE_DURATION + SECOND
    await other.work()
    await other.advance(minutes=15)
    bought = await other.find(row.id)
    assert bought.machine.novita_id is not None
    assert len(rig.machines()) == 2


async def test_without_room_an_order_waits_its_turn_and_is_not_passed(rig: Rig) -> None:
    buyer = rig.engine.buyer
    buyer.workers.limit = 1
    go_on = asyncio.Event()
    create = rig.novita.create

    async def wait(*args: Any, **options: Any) -> str:
        await go_on.wait()
        return await create(*args, **options)

    rig.novita.create = wait  # type: ignore[method-assign]  # until it is let go on
    ordering = replace(rig.service.ordering, patience=NOBODY)
    first, second = [(await ordering.place(ORDER))[0] for _ in range(2)]
    assert buyer.workers.held.keys() == {first.id}
    assert await buyer.turn() is None
    go_on.set()
    await buyer.workers.drain(MINUTE)
    # There is room again, but somebody waits for it.
    third, _ = await ordering.place(ORDER)
    assert buyer.workers.held == {}
    await buyer.turn()
    assert buyer.workers.held.keys() == {second.id}
    await buyer.workers.drain(MINUTE)
    await rig.work()
    assert (await rig.find(third.id)).status is Status.CREATING
    assert len(rig.machines()) == 3


async def test_a_turn_that_finds_more_at_work_than_may_be_claims_nothing(rig: Rig) -> None:
    workers = rig.engine.buyer.workers
    never = asyncio.Event()
    for number in range(2):
        workers.start(wait_for(never), f"row-{number}", "token")
    workers.limit = 1
    placed = await replace(rig.service.ordering, patience=NOBODY).place(ORDER)
    assert workers.room == -1
    assert await rig.engine.buyer.turn() is None
    assert placed[0].id not in workers.held
    await workers.drain(NOBODY)
    workers.limit = 2
    await rig.work()
    assert (await rig.find(placed[0].id)).status is Status.CREATING


async def wait_for(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_lease_given_during_a_renewal_is_not_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = rig.engine.buyer
    row, _ = await replace(rig.service.ordering, patience=NOBODY, buyer=BuyerElsewhere()).place(
        ORDER
    )
    write, chosen = Database.write, await rig.service.market.choose(ORDER)

    async def write_meanwhile(self: Database, unit: Any) -> Any:
        result = await write(self, unit)
        with buyer.reserve(row, chosen) as claim:
            assert claim is not None
            buyer.leasing.hold(claim.lease)
            buyer.workers.start(asyncio.sleep(0), row.id, claim.lease.token)
            given.append(claim.lease.token)
        return result

    given: list[str] = []
    buyer.workers.start(asyncio.sleep(0), "another", "its-token")
    buyer.leasing.until["its-token"] = rig.clock() + LEASE_DURATION
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", write_meanwhile)
        await buyer.leasing.renew(rig.clock())
    buyer.leasing.check(row.id, given[0], rig.clock() + SECOND)
    await buyer.workers.drain(MINUTE)


def test_room_that_is_reserved_is_nobody_elses() -> None:
    workers = Workers(LoopName.DELIVER, 1, log=get_logger("test"), on_error=lambda _: None)
    with workers.reserve() as has_room:
        assert (has_room, workers.room) == (True, 0)
        with workers.reserve() as has_more:
            assert not has_more
    assert workers.room == 1
    workers.is_in_arrears = True
    with workers.reserve() as has_room:
        assert not has_room


def test_who_does_not_buy_claims_nothing() -> None:
    elsewhere = BuyerElsewhere()
    row: Any = None
    with elsewhere.reserve(row, row) as claim:
        assert claim is None
    with pytest.raises(AssertionError):
        elsewhere.begin(row)


async def test_a_row_is_stored_with_its_lease(rig: Rig) -> None:
    chosen = await rig.service.market.choose(ORDER)
    with rig.engine.buyer.reserve(await rig.order(), chosen) as claim:
        assert claim is not None
        row = edit(claim.row, id="ins_held", novita_id=None, novita_name="held-te5t-1")

        def store(connection: Connection) -> None:
            instances.add(
                connection,
                row,
                rig.engine.buyer.purchasing.seal,
                rig.engine.sweep.outbox,
                lease=claim.lease,
            )

        await rig.database.write(store)
    claimed = await rig.database.write(
        lambda c: instances.claim(c, rig.clock() + SECOND, 9, claim.lease)
    )
    assert claimed == []


async def test_what_is_known_is_told_without_asking_novita(rig: Rig) -> None:
    market = rig.engine.buyer.purchasing.market
    assert market.known(ORDER) is None
    await market.get_ready()
    assert market.known(ORDER) is None
    await rig.order()
    known = market.known(ORDER)
    assert known is not None
    assert known == await market.choose(ORDER)
    calls = len(rig.world.journal.requests())
    for other in (
        {"product_name": "RTX 5090"},
        {"template_id": "tpl-other"},
        {"regions": ("US-01",)},
        {"gpu_num": 2},
    ):
        assert market.known(replace(ORDER, **other)) is None
    assert len(rig.world.journal.requests()) == calls
    rig.clock.at += MINUTE
    assert market.known(ORDER) is None


async def test_what_an_order_with_a_limit_can_buy_is_never_known(rig: Rig) -> None:
    await rig.order()
    limited = replace(ORDER, max_price_per_hour=Decimal("9"))
    assert rig.service.market.known(limited) is None


async def test_a_novita_that_cannot_be_asked_at_the_start_is_asked_by_the_first_order(
    rig: Rig,
) -> None:
    rig.fault("html", "clusters", times=4)
    market = rig.engine.buyer.purchasing.market
    await market.get_ready()
    assert rig.calls("clusters") == 4
    await rig.service.order(ORDER)
    assert rig.calls("clusters") == 5
