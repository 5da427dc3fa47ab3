"""Wait for a state of the world, however fast or slow the machine is."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Far more than anything here takes, so that only what never happens fails.
PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.02


def eventually(look: Callable[[], T | None], what: str) -> T:
    """Return what ``look`` returns as soon as that is true; fail if it never is."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < ends_at, f"{what} never came; last seen: {seen!r}"
        pause(_PAUSE_SECONDS)


def stays(look: Callable[[], object], *, seconds: float) -> bool:
    """Whether what ``look`` returns is true now and all the time for so many seconds."""
    ends_at = time.monotonic() + seconds
    while look():
        if time.monotonic() >= ends_at:
            return True
        pause(_PAUSE_SECONDS)
    return False


def pause(seconds: float) -> None:
    """Let the other processes and threads work for a moment."""
    threading.Event().wait(seconds)
