"""An event loop whose time is simulated: it jumps to the next timer when nothing is left to do.

Everything that waits on such a loop (timeouts, pauses, the engine's own loops) waits in simulated
time, in an order that depends on nothing but the program: ten hours pass in seconds, and twice in
the same way.
"""

import asyncio
import selectors
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
# So many rounds at one moment mean that something spins and time will never go on.
_MOST_ROUNDS = 1_000_000


class Stuck(AssertionError):
    """The program would wait for ever, or spins without letting time pass."""


class _Jumping(selectors.DefaultSelector):
    """A selector that never waits: the time it should have waited for is added to ``elapsed``."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self._rounds = 0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready, after letting the time pass in no time."""
        if timeout is None:
            raise Stuck("nothing is left to do, and nothing will ever happen")
        self._rounds = 0 if timeout > 0 else self._rounds + 1
        if self._rounds > _MOST_ROUNDS:
            raise Stuck("the program spins: time does not go on")
        self.elapsed += max(timeout, 0.0)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on simulated time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the simulated seconds since the loop was made."""
        return self._jumping.elapsed


def now() -> datetime:
    """Return the simulated time of the running loop."""
    return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())


async def pass_time(seconds: float) -> None:
    """Let simulated time pass; other tasks go on meanwhile."""
    loop = asyncio.get_running_loop()
    passed = loop.create_future()
    timer = loop.call_later(seconds, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()
