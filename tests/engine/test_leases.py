"""Leases: kept while they are extended in the store, lost for good when they are not."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import OperationalError

from gpukeeper.domain.errors import LeaseLost, StoreUnavailable
from gpukeeper.domain.lifecycle import new_instance
from gpukeeper.engine import leases as engine_leasing
from gpukeeper.engine.leases import LEASE_DURATION, HeldLeases, new_lease
from gpukeeper.store import instances, leases, tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.leases import Lease
from gpukeeper.telemetry import get_logger
from tests.engine.conftest import Build
from tests.engine.rig import ORDER, Rig


async def test_a_lease_that_has_ended_is_lost_for_good(rig: Rig) -> None:
    leasing = rig.engine.buyer.leasing
    _held(leasing, rig.clock())
    leasing.check("row", "token", rig.clock() + LEASE_DURATION - timedelta(seconds=1))
    with pytest.raises(LeaseLost):
        leasing.check("row", "token", rig.clock() + LEASE_DURATION)
    await leasing.renew(rig.clock() + LEASE_DURATION)
    with pytest.raises(LeaseLost):
        leasing.check("row", "token", rig.clock() + LEASE_DURATION)


async def test_a_lease_that_the_store_could_not_extend_ends_when_it_was_to_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    leasing, now = rig.engine.buyer.leasing, rig.clock()
    with _under_way(leasing, _held(leasing, now), "row"):
        with monkeypatch.context() as patch:
            patch.setattr(Database, "write", _unavailable)
            for seconds in (5, 10, 15):
                with pytest.raises(StoreUnavailable):
                    await leasing.renew(now + timedelta(seconds=seconds))
        leasing.check("row", "token", now + LEASE_DURATION - timedelta(seconds=1))
        with pytest.raises(LeaseLost):
            leasing.check("row", "token", now + LEASE_DURATION)


async def test_a_lease_goes_on_being_renewed_after_the_store_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_leasing, "_RENEW_EVERY", timedelta(0))
    outcomes = iter([StoreUnavailable("away"), OperationalError("", {}, Exception("odd")), None])
    renewed = asyncio.Event()

    async def renew() -> None:
        failure = next(outcomes, None)
        if failure is not None:
            raise failure
        renewed.set()

    async with engine_leasing.keep_renewed(renew, get_logger("test")), asyncio.timeout(20):
        await renewed.wait()


async def test_a_row_that_another_has_taken_is_lost_and_the_others_of_its_lease_are_not(
    rig: Rig,
) -> None:
    leasing, now = rig.engine.buyer.leasing, rig.clock()
    lease = _held(leasing, now)
    theirs = Lease("theirs", now + 2 * LEASE_DURATION)
    rows = [await _stored(rig, number) for number in range(2)]
    await rig.database.write(lambda c: leases.take(c, tables.instances, rows, lease))
    await rig.database.write(lambda c: leases.take(c, tables.instances, rows[:1], theirs))
    with _under_way(leasing, lease, *rows):
        for seconds in range(5, 61, 5):
            await leasing.renew(now + timedelta(seconds=seconds))
        leasing.check(rows[1], "token", now + timedelta(seconds=60))
        with pytest.raises(LeaseLost):
            leasing.check(rows[0], "token", now + timedelta(seconds=60))
    await rig.database.write(lambda c: leases.release_all(c, tables.instances))


async def test_a_purchase_held_up_while_the_store_is_away_is_not_made_beside_another(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = build()
    rig.fault("rate-limit", "create", times=2, retry_after=60)
    other = build(beside=rig).engine

    async def others_go_on(seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            rig.clock.at += timedelta(seconds=5)
            with contextlib.suppress(StoreUnavailable):
                await rig.engine.buyer.turn()
            for loop in (other.buyer, other.reconciler):
                await loop.turn()
                await loop.workers.drain(timedelta(minutes=1))

    async def wait(seconds: float) -> None:
        monkeypatch.setattr(rig.database, "write", _unavailable)
        await others_go_on(seconds)

    monkeypatch.setattr(rig.novita, "_sleep", wait)
    asked = asyncio.create_task(rig.service.order(ORDER))
    while not rig.engine.buyer.workers.held:
        await rig.engine.buyer.turn()
        await asyncio.sleep(0)
    await rig.engine.buyer.workers.drain(timedelta(minutes=1))
    asked.cancel()
    await others_go_on(180)
    assert len(rig.machines()) == 1
    monkeypatch.undo()


async def _stored(rig: Rig, number: int) -> str:
    row = new_instance.create_from_order(
        replace(ORDER, name=f"node-{number}"),
        rig.clock(),
        deployment="te5t",
        region="CN-HK-01",
        random_bytes=lambda length: number.to_bytes(length, "big"),
    )
    seal, outbox = rig.service.seal, rig.service.outbox
    await rig.database.write(lambda c: instances.add(c, row, seal, outbox))
    return row.id


def _held(leasing: HeldLeases, now: datetime) -> Lease:
    lease = new_lease("token", now)
    leasing.hold(lease)
    return lease


@contextlib.contextmanager
def _under_way(leasing: HeldLeases, lease: Lease, *rows: str) -> Iterator[None]:
    """Let workers hold rows under a lease for as long as the block lasts."""
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    for row in rows:
        leasing.workers.start(hang(), row, lease.token)
    yield
    never.set()


async def _unavailable(*_: object) -> None:
    raise StoreUnavailable
