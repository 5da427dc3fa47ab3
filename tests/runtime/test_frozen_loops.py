"""A loop that freezes or dies makes the service unready by name, and soon enough."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from gpukeeper.config import Settings
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.loop import LONGEST_REST, Loop
from gpukeeper.runtime import Outside, Runtime, build, life_cycle
from gpukeeper.runtime.loops import max_sweep_silence
from gpukeeper.store.db import notify_listener
from tests.postgres import Databases
from tests.runtime.conftest import Configure

LOOPS = [name for name in LoopName if name is not LoopName.LISTEN]
POLL_INTERVAL = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Clock:
    """Time as a value."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@dataclass(slots=True)
class Hanging:
    """A turn that never ends."""

    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, *_: object) -> datetime | None:
        self.began.set()
        await asyncio.Event().wait()
        return None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock of the services that are built; a drain waits for no loop."""
    monkeypatch.setattr(life_cycle, "_LAST_TURN", timedelta(0))
    return Clock()


def start(settings: Settings, clock: Clock) -> Runtime:
    """Build a service by a clock that moves in steps, although no process was stopped."""
    return build(
        settings,
        outside=Outside(clock=clock, steady=lambda: clock.at.timestamp(), may_jump=False),
    )


@asynccontextmanager
async def _running(runtime: Runtime) -> AsyncIterator[dict[LoopName, Loop]]:
    """Run a service; give its loops by name as soon as all of them have turned."""
    assert runtime.engine is not None
    loops = {loop.name: loop for loop in (runtime.follow, *runtime.engine.loops)}
    async with runtime.running():
        while not (await runtime.service.health()).is_ready:
            continue
        yield loops


async def _turned(loops: dict[LoopName, Loop], clock: Clock, *, but: str) -> None:
    """Let every loop turn at this time but one."""
    for loop in loops.values():
        while loop.name != but and loop.beat_at != clock.at:
            loop.nudge()
            await asyncio.sleep(0)


async def _end(name: str) -> None:
    """Let a loop die."""
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_freezes_is_named_after_four_of_its_intervals(
    configure: Configure, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: LoopName
) -> None:
    runtime = start(configure(), clock)
    async with _running(runtime) as loops:
        hanging = Hanging()
        monkeypatch.setattr(loops[name], "_turn", hanging)
        loops[name].nudge()
        await hanging.began.wait()

        silence = 4 * (POLL_INTERVAL if name is LoopName.SWEEP else LONGEST_REST)
        clock.at += silence
        await _turned(loops, clock, but=name)
        assert (await runtime.service.health()).problems == ()

        clock.at += SECOND
        await _turned(loops, clock, but=name)
        seconds = int((silence + SECOND).total_seconds())
        problem = f"the {name} loop has been silent for {seconds} s"
        assert (await runtime.service.health()).problems == (problem,)


@pytest.mark.parametrize("name", LOOPS)
async def test_a_loop_that_dies_is_named_at_once(
    configure: Configure, clock: Clock, name: LoopName
) -> None:
    runtime = start(configure(), clock)
    async with _running(runtime):
        await _end(name)
        assert (await runtime.service.health()).problems == (f"the {name} loop has ended",)


@pytest.fixture
def url(postgres: Databases) -> Iterator[str]:
    """Give the URL of an empty database."""
    with ExitStack() as stack:
        yield stack.enter_context(postgres.new())


@dataclass(slots=True)
class Steady:
    """A machine's steady clock that stands still."""

    seconds: float = 0

    def monotonic(self) -> float:
        return self.seconds


async def test_a_listener_that_freezes_or_dies_is_named(
    configure: Configure, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = Steady()
    monkeypatch.setattr(notify_listener, "_HEARTBEAT_SECONDS", 0.01)
    outside = Outside(steady=steady.monotonic, may_jump=False)
    runtime = build(configure(GPUKEEPER_DATABASE_URL=url), outside=outside)
    listener = runtime.listener
    assert listener is not None
    async with _running(runtime) as loops:
        hanging = Hanging()
        monkeypatch.setattr(listener, "_keep_time", hanging)
        await hanging.began.wait()
        assert listener.beat_at is not None
        shared = Clock(listener.beat_at)

        async def problems(silence: timedelta) -> tuple[str, ...]:
            steady.seconds += (shared.at + silence - listener.clock()).total_seconds()
            now = Clock(listener.clock())
            await _turned(loops, now, but="listen")
            return (await runtime.service.health()).problems

        assert await problems(4 * LONGEST_REST) == ()
        assert await problems(4 * LONGEST_REST + SECOND) == (
            "the listen loop has been silent for 21 s",
        )
        await _end("listen")
        assert (await runtime.service.health()).problems == ("the listen loop has ended",)


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 120),
        ({"GPUKEEPER_POLL_INTERVAL": "50", "GPUKEEPER_SWEEP_INTERVAL": "40"}, 160),
        ({"GPUKEEPER_POLL_INTERVAL": "50", "GPUKEEPER_SWEEP_INTERVAL": "0"}, 200),
        ({"GPUKEEPER_POLL_INTERVAL": "1"}, 95),
        ({"GPUKEEPER_NOVITA_TIMEOUT": "90"}, 155),
    ],
)
def test_the_look_loop_may_miss_four_looks_but_one_call_is_no_freeze(
    configure: Configure, variables: dict[str, str], seconds: int
) -> None:
    silence = max_sweep_silence(configure(**variables))
    assert silence == timedelta(seconds=seconds)
