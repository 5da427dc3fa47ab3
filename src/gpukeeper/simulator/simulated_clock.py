"""The simulated time: it follows the wall clock at a chosen speed, or stands until it is moved."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def utc_now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)


class SimulatedClock:
    """A clock that can be sped up, held, moved forward and set; it never runs backwards."""

    def __init__(
        self,
        wall: Callable[[], datetime] = utc_now,
        *,
        start: datetime | None = None,
        speed: float = 1.0,
        is_manual: bool = False,
    ) -> None:
        self._wall = wall
        self._anchor_wall = wall()
        self._anchor = start or self._anchor_wall
        self.speed = speed
        self.is_manual = is_manual

    def wall(self) -> datetime:
        """Return the time of the wall clock that the simulated time follows."""
        return self._wall()

    def now(self) -> datetime:
        """Return the simulated time as an aware UTC datetime."""
        if self.is_manual:
            return self._anchor
        return self._anchor + (self._wall() - self._anchor_wall) * self.speed

    def follow(self, *, speed: float = 1.0) -> None:
        """Let the time pass ``speed`` simulated seconds per second of the wall clock.

        Raise :class:`ValueError` unless it is more than 0.
        """
        if speed <= 0:
            raise ValueError("the speed must be more than 0")
        self._re_anchor(self.now())
        self.speed = speed
        self.is_manual = False

    def hold(self) -> None:
        """Let the time stand until it is moved or made to follow again."""
        self._re_anchor(self.now())
        self.is_manual = True

    def advance(self, by: timedelta) -> None:
        """Move the time forward; raise :class:`ValueError` for a negative duration."""
        self.set(self.now() + by)

    def set(self, at: datetime) -> None:
        """Move the time to ``at``; raise :class:`ValueError` when that is in the past."""
        if at < self.now():
            raise ValueError("the simulated time cannot go backwards")
        self._re_anchor(at)

    def _re_anchor(self, at: datetime) -> None:
        self._anchor = at
        self._anchor_wall = self._wall()
