"""The service's clock does not follow a jump, and asks Novita what time it is."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from gpukeeper.config import Settings
from gpukeeper.domain.clock_trust import PATIENCE, ClockDoubt
from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.instances import Status
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.leases import LEASE_DURATION, HeldLeases
from gpukeeper.engine.loop import Workers
from gpukeeper.runtime import Outside, build
from gpukeeper.runtime import trusted_clock as clock_module
from gpukeeper.runtime.trusted_clock import (
    TrustedClock,
    read_steady_clock,
    settle_forever,
    settle_once,
)
from gpukeeper.simulator.novita_api.simulator_server import Simulator
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import events as history
from gpukeeper.store import facts, instances, tables
from gpukeeper.store.db.database import Database, sqlite_url
from gpukeeper.store.db.shared_clock import newest_time
from gpukeeper.store.facts import SweepState
from gpukeeper.store.leases import Lease
from gpukeeper.telemetry import get_logger
from tests.postgres import Databases
from tests.runtime.conftest import Configure
from tests.store.rows import NOW as ROWS_NOW
from tests.store.rows import an_instance, stored

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AHEAD = timedelta(days=100)


@dataclass(slots=True)
class Times:
    """A wall clock and steady seconds that a test moves, and what was told of doubts."""

    wall: datetime = NOW
    seconds: float = 1000.0
    told: list[ClockDoubt | None] = field(default_factory=list)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds * SECOND
        self.seconds += seconds

    def clock(
        self, *, newest: datetime | None = None, longest_lapse: timedelta | None = None
    ) -> TrustedClock:
        return TrustedClock(
            lambda: self.wall,
            steady=lambda: self.seconds,
            newest=newest,
            longest_lapse=longest_lapse,
            on_change=self.told.append,
        )


def test_a_clock_that_is_far_ahead_for_seconds_is_never_told() -> None:
    times = Times()
    clock = times.clock()
    assert clock() == NOW
    times.wall += AHEAD
    for _ in range(5):
        times.pass_(1)
        assert clock() == times.wall - AHEAD
        assert clock.ahead == AHEAD
    times.wall -= AHEAD
    assert (clock(), clock.doubt, clock.ahead) == (times.wall, None, timedelta(0))
    assert times.told == [ClockDoubt(AHEAD, 1001.0), None]


def test_a_jump_that_novitas_answer_confirms_is_followed() -> None:
    times = Times()
    clock = times.clock()
    times.wall += AHEAD
    for date in (None, "yesterday", "Thu, 01 Jan 1970 00:00:00", "x" * 10_000):
        clock.hear(date)
        assert clock() == NOW
    clock.hear(format_datetime(times.wall, usegmt=True))
    assert clock() == times.wall
    assert times.told[-1] is None


def test_a_start_after_a_while_is_told_of_and_confirmed() -> None:
    times = Times()
    clock = times.clock(newest=NOW - AHEAD)
    assert times.told == [ClockDoubt(AHEAD, 1000.0)]
    assert clock() == NOW - AHEAD
    times.pass_(PATIENCE.total_seconds())
    assert clock() == times.wall


async def test_novita_is_asked_at_once_and_again_for_as_long_as_there_is_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_module, "_EVERY", timedelta(0))
    monkeypatch.setattr(clock_module, "_ASK_EVERY", timedelta(0))
    times = Times()
    clock = times.clock()
    asked: list[datetime] = []
    enough = asyncio.Event()

    async def ask() -> None:
        asked.append(clock())
        if len(asked) == 3:
            clock.hear(format_datetime(times.wall, usegmt=True))
            enough.set()

    await settle_once(clock, ask)
    assert asked == []
    times.wall += AHEAD
    await settle_once(clock, ask)
    assert asked == [NOW]
    task = asyncio.create_task(settle_forever(clock, ask))
    async with asyncio.timeout(20):
        await enough.wait()
    task.cancel()
    await asyncio.wait([task])
    assert len(asked) == 3
    assert clock() == times.wall


async def test_a_start_does_not_wait_for_an_answer_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_module, "_PATIENCE", timedelta(0))
    times = Times()

    async def ask() -> None:
        await asyncio.Event().wait()

    await settle_once(times.clock(newest=NOW - AHEAD), ask)


@pytest.mark.parametrize("has_boot_clock", [True, False])
def test_steady_seconds_do_not_go_back(
    monkeypatch: pytest.MonkeyPatch, has_boot_clock: bool
) -> None:
    if not has_boot_clock:
        monkeypatch.delattr("time.CLOCK_BOOTTIME")
    first = read_steady_clock()
    assert first <= read_steady_clock()


async def test_the_newest_time_is_that_of_the_last_look_or_the_last_event(
    configure: Configure,
) -> None:
    settings = configure()
    build(settings).database.close()
    database = Database(sqlite_url(settings.database_path))
    assert await database.read(newest_time) is None
    row = an_instance(1)
    await stored(database, row)
    of_event = await database.read(newest_time)
    assert of_event is not None
    later = of_event + SECOND
    await database.write(lambda c: facts.store_state(c, SweepState(tried_at=later)))
    assert await database.read(newest_time) == later
    database.close()


@pytest.mark.parametrize(
    ("behaviour", "is_confirmed"),
    [
        ({"date_sent": False}, False),
        ({"date_skew_seconds": -7 * 86400.0}, False),
        ({"date_skew_seconds": 3600.0}, False),
        ({}, True),
    ],
)
async def test_a_service_that_was_off_goes_by_its_clock_when_novita_agrees_and_not_before(
    configure: Configure, behaviour: dict[str, Any], is_confirmed: bool
) -> None:
    with Simulator(SimulatorSettings(**behaviour)) as novita:
        settings = configure(NOVITA_BASE_URL=novita.url, GPUKEEPER_SWEEP_INTERVAL="0")
        last_week = datetime.now(UTC) - timedelta(days=7)
        keep_look(settings, last_week)
        runtime = build(settings)
        assert abs(runtime.clock() - last_week) < 60 * SECOND
        async with runtime.running():
            health = await runtime.service.health()
            told = datetime.now(UTC) if is_confirmed else last_week
            assert abs(runtime.clock() - told) < 60 * SECOND
    shown = health.body["clock"]
    assert shown["isTrusted"] is is_confirmed
    assert (shown["notice"] is None) is is_confirmed
    assert (shown["aheadSeconds"] == 0) is is_confirmed
    name = "gpukeeper_clock_ahead_seconds"
    assert (runtime.metrics.registry.get_sample_value(name) == 0) is is_confirmed
    # Ordinary service goes on.
    assert not any("clock" in problem for problem in health.problems)


def keep_look(settings: Settings, at: datetime) -> None:
    """Let a look be the last thing that was stored."""
    build(settings).database.close()
    with (
        closing(Database(sqlite_url(settings.database_path))) as database,
        database.engine.begin() as connection,
    ):
        facts.store_state(connection, SweepState(tried_at=at))


async def test_nothing_is_removed_and_nothing_ends_because_of_a_jump(
    configure: Configure,
) -> None:
    times = Times(wall=ROWS_NOW)
    outside = Outside(clock=lambda: times.wall, steady=lambda: times.seconds)
    runtime = build(configure(), outside=outside)
    engine = runtime.engine
    assert engine is not None
    retention = engine.retention
    assert retention is not None
    deadline = ROWS_NOW + 600 * SECOND
    await stored(runtime.database, an_instance(1, deadline_at=deadline, due_at=deadline))

    async def work() -> tuple[int, Status]:
        for _ in range(4):
            await engine.buyer.turn()
            await engine.buyer.workers.drain(timedelta(seconds=20))
            await retention.turn()
        row = await runtime.database.read(lambda c: instances.find(c, "ins_000001"))
        assert row is not None
        events = await runtime.database.read(lambda c: history.list_of_instance(c, row.id))
        return len(events), row.status

    kept = await work()
    times.wall += AHEAD
    times.pass_(5)
    assert await work() == kept == (1, Status.REQUESTED)
    runtime.clock.hear(format_datetime(times.wall, usegmt=True))
    times.pass_(5)
    removed_and_one_more, status = await work()
    assert (removed_and_one_more, status) == (1, Status.FAILED)
    await runtime.novita.aclose()
    await runtime.sender.aclose()
    runtime.database.close()


async def test_on_a_shared_database_no_lease_is_believed_while_the_time_is_in_doubt(
    database: Database,
) -> None:
    is_sure = True
    workers = Workers(LoopName.DELIVER, 1, log=get_logger("test"), on_error=lambda _: None)
    leasing = HeldLeases(database, tables.instances, workers, is_time_sure=lambda: is_sure)
    leasing.hold(Lease("token", NOW + LEASE_DURATION))
    leasing.check("row", "token", NOW)
    is_sure = False
    with pytest.raises(LeaseLost):
        leasing.check("row", "token", NOW)


@pytest.mark.parametrize("is_shared", [False, True])
async def test_only_a_service_that_shares_its_database_stops_for_a_doubt(
    configure: Configure, postgres: Databases, monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    with postgres.new() as url:
        runtime = build(configure(**({"GPUKEEPER_DATABASE_URL": url} if is_shared else {})))
        engine = runtime.engine
        assert engine is not None
        workers = (engine.buyer, engine.reconciler, engine.deliverer)
        assert all(each.leasing.is_time_sure() for each in workers)
        monkeypatch.setattr(TrustedClock, "doubt", ClockDoubt(AHEAD, 0.0))
        assert {each.leasing.is_time_sure() for each in workers} == {not is_shared}
        await runtime.novita.aclose()
        await runtime.sender.aclose()
        runtime.database.close()


@pytest.fixture
def database(configure: Configure) -> Iterator[Database]:
    """Give a database with this version's schema."""
    with closing(build(configure()).database) as database:
        yield database
