"""The loops and workers: they go on after an error, say so, wake when nudged, and drain."""

import asyncio
from datetime import datetime, timedelta

import pytest

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine import sweep
from gpukeeper.engine.loop import Loop, Workers
from gpukeeper.telemetry import get_logger
from tests.engine.conftest import Build
from tests.engine.rig import EPOCH, ORDER, Clock, Rig

LOG = get_logger("test")


class Watcher:
    """Counts what a loop or its workers report."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.beats: list[str] = []


def a_loop(watcher: Watcher, turns: list[object], clock: Clock) -> Loop:
    """Return a loop that takes its turns from a list, and is drained by the last one."""

    async def turn() -> datetime | None:
        outcome = turns.pop(0)
        if not turns:
            loop.drain()
        if isinstance(outcome, Exception):
            raise outcome
        return clock()

    loop = Loop(
        LoopName.DELIVER,
        turn,
        clock=clock,
        log=LOG,
        max_silence=timedelta(seconds=1),
        on_beat=watcher.beats.append,
        on_error=watcher.errors.append,
    )
    return loop


async def test_a_loop_turns_until_it_is_drained() -> None:
    watcher = Watcher()
    loop = a_loop(watcher, [None, None, None], Clock())
    await loop.run()
    assert watcher.beats == ["deliver"] * 3
    assert loop.beat_at == EPOCH
    assert loop.is_running is False


async def test_a_loop_goes_on_after_an_error_and_shows_no_life_until_a_turn_succeeds() -> None:
    watcher = Watcher()
    loop = a_loop(watcher, [ValueError("first"), ValueError("second"), None, None], Clock())
    running = asyncio.create_task(loop.run())
    while not running.done():
        loop.nudge()
        await asyncio.sleep(0)
    assert watcher.errors == ["deliver", "deliver"]
    assert watcher.beats == ["deliver", "deliver"]


async def test_a_store_that_cannot_work_is_no_fault_of_ours_and_shows_no_life() -> None:
    watcher = Watcher()
    loop = a_loop(watcher, [StoreUnavailable(), None, None], Clock())
    running = asyncio.create_task(loop.run())
    while not running.done():
        loop.nudge()
        await asyncio.sleep(0)
    assert watcher.errors == []
    assert watcher.beats == ["deliver"] * 2


async def test_a_worker_whose_result_cannot_be_stored_frees_its_place() -> None:
    watcher = Watcher()
    workers = Workers(LoopName.DELIVER, 1, log=LOG, on_error=watcher.errors.append)
    freed = asyncio.Event()
    workers.on_free = freed.set
    workers.call_when_free()

    async def fail() -> None:
        raise StoreUnavailable

    workers.start(fail(), "row", "token")
    await freed.wait()
    assert workers.room == 1
    assert watcher.errors == []


async def test_a_nudge_ends_a_rest() -> None:
    turned = asyncio.Event()

    async def turn() -> datetime | None:
        turned.set()
        return None

    watcher = Watcher()
    loop = Loop(
        LoopName.DELIVER,
        turn,
        clock=Clock(),
        log=LOG,
        max_silence=timedelta(seconds=1),
        on_beat=watcher.beats.append,
        on_error=watcher.errors.append,
    )
    running = asyncio.create_task(loop.run())
    await turned.wait()
    turned.clear()
    loop.nudge()
    await asyncio.wait_for(turned.wait(), 4)
    loop.drain()
    await asyncio.wait_for(running, 4)


async def test_a_worker_that_fails_is_reported_and_frees_its_place() -> None:
    watcher = Watcher()
    workers = Workers(LoopName.DELIVER, 1, log=LOG, on_error=watcher.errors.append)
    freed = asyncio.Event()
    workers.on_free = freed.set
    workers.call_when_free()

    async def fail() -> None:
        raise ValueError("a fault of ours")

    workers.start(fail(), "row", "token")
    assert workers.room == 0
    assert workers.held == {"row": "token"}
    await freed.wait()
    assert workers.room == 1
    assert watcher.errors == ["deliver"]


async def test_workers_that_take_too_long_are_cancelled_by_the_drain() -> None:
    workers = Workers(LoopName.DELIVER, 2, log=LOG, on_error=lambda _: None)
    never = asyncio.Event()
    was_cancelled = False

    async def hang() -> None:
        nonlocal was_cancelled
        try:
            await never.wait()
        except asyncio.CancelledError:
            was_cancelled = True
            raise

    workers.start(hang(), "row", "token")
    await workers.drain(timedelta(0))
    assert was_cancelled
    assert workers.room == 2


@pytest.mark.parametrize("interval", ["0", "60"])
async def test_the_settled_fleet_is_looked_at_as_the_setting_says(
    build: Build, interval: str
) -> None:
    rig = build(environ={"GPUKEEPER_SWEEP_INTERVAL": interval})
    await rig.running()
    before = rig.calls("list")
    await rig.advance(minutes=10)
    assert rig.calls("list") - before == (0 if interval == "0" else 10)


async def test_a_dead_workers_row_is_taken_over_when_its_lease_ends(rig: Rig) -> None:
    def die(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    original = rig.novita.create
    rig.novita.create = die  # type: ignore[method-assign,assignment]  # the process dies here
    asked = asyncio.create_task(rig.service.order(ORDER))
    while not rig.calls("template"):
        await rig.work()
        await asyncio.sleep(0)
    asked.cancel()
    rig.novita.create = original  # type: ignore[method-assign]  # and is started again
    await rig.advance(minutes=4)
    (view,) = (await rig.service.instances(limit=9)).views
    assert view.instance.status == "running"
    assert rig.machines() == [view.instance.machine.novita_id]


async def test_a_look_that_is_kept_waiting_by_novita_shows_life_before_each_try(rig: Rig) -> None:
    look = rig.engine.loops[0]
    beats: list[datetime] = []
    look._on_beat = lambda _: beats.append(rig.clock())
    rig.fault("rate-limit", "list", times=3, retry_after=60)
    await rig.engine.sweep.look()
    assert [(at - EPOCH).total_seconds() for at in beats] == [0, 60, 120, 180]
    assert timedelta(seconds=60) + rig.settings.novita_timeout < look.max_silence


async def test_a_look_shows_life_while_it_writes_down_what_changed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for instance in [await rig.running(name=f"m-{number}") for number in range(3)]:
        rig.console(instance, "stop")
    monkeypatch.setattr(sweep, "_FIRST_GROUP", 1)
    monkeypatch.setattr(sweep, "_LARGEST_GROUP", 1)
    beats: list[str] = []
    rig.engine.loops[0]._on_beat = beats.append
    rig.clock.at += timedelta(seconds=20)
    await rig.engine.sweep.look()
    assert beats == ["look"] * 4
