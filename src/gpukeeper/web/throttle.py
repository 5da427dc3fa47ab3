"""Count wrong guesses, so that nobody can make many of them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

_WINDOW = timedelta(minutes=1)

# More sources than this are no people; the memory for each is bounded by the limit.
_MAX_SOURCES = 1024


@dataclass(frozen=True, slots=True)
class _Guesses:
    until: datetime
    times: Counter[bytes]


class Throttle:
    """Lets each source make ``limit`` wrong guesses a minute, and each of them ``limit`` times.

    A program that repeats one wrong key is slowed down itself, and does not keep others at the
    same address from using theirs.
    """

    def __init__(
        self, *, limit: int, clock: Callable[[], datetime], max_sources: int = _MAX_SOURCES
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._max_sources = max_sources
        # In the order in which they end, because all windows are equally long.
        self._sources: dict[str, _Guesses] = {}

    def wait(self, source: str, guess: bytes) -> timedelta:
        """Return how long a source has to wait before this guess; zero when it may try it now."""
        found = self._current(source)
        if found is None:
            return timedelta()
        is_free = len(found.times) < self._limit or guess in found.times
        if is_free and found.times[guess] < self._limit:
            return timedelta()
        return found.until - self._clock()

    def count(self, source: str, guess: bytes) -> None:
        """Remember a wrong guess."""
        found = self._current(source)
        if found is None:
            if len(self._sources) >= self._max_sources:
                del self._sources[next(iter(self._sources))]
            found = self._sources[source] = _Guesses(self._clock() + _WINDOW, Counter())
        found.times[guess] += 1

    def _current(self, source: str) -> _Guesses | None:
        found = self._sources.get(source)
        if found is not None and found.until <= self._clock():
            del self._sources[source]
            return None
        return found
