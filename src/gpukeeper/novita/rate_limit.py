"""Pace the calls to Novita: a token bucket that slows down when told to and recovers."""

import math
from datetime import datetime, timedelta

# The slowest share of the full rate: slow enough to get through, fast enough to notice recovery.
_SLOWEST_SHARE = 0.1

# Each success gives back this share of the full rate: ten successes undo a tenth.
_RECOVERY_SHARE = 0.01

# After a quiet time so much is let through at once: a look at a large fleet starts without delay.
_BURST_SECONDS = 1.0

# Calls that were under way when Novita first complained complain together: they count as one.
_COMPLAINTS_APART_SECONDS = 1.0


class TokenBucket:
    """Says how long the next call has to wait; knows no clock and never sleeps.

    ``rate_per_second`` calls are let through, a second's worth of them at once after a quiet
    time.  A rate of 0 or less means no limit; a pause still holds then.  Times may jump
    backwards: only differences count, and a negative one counts as none.
    """

    def __init__(self, *, rate_per_second: float) -> None:
        self._full_rate = rate_per_second if rate_per_second > 0 else math.inf
        self._rate = self._full_rate
        # How far the next free slot lies ahead; below zero it has been free for so long.
        self._ahead_seconds = -math.inf
        self._quiet_seconds = math.inf
        self._last_at: datetime | None = None

    @property
    def rate_per_second(self) -> float:
        """The rate now: the full one, unless Novita complained lately."""
        return self._rate

    def wait(self, now: datetime) -> timedelta:
        """Return how long a call made now has to wait."""
        self._pass_time(now)
        return timedelta(seconds=max(self._ahead_seconds, 0))

    def take(self, now: datetime) -> None:
        """Count one call that is made now."""
        self._pass_time(now)
        self._ahead_seconds += 1 / self._rate

    def slow_down(self, now: datetime) -> None:
        """Halve the rate and forget what was saved up, because Novita asked for fewer calls."""
        self._pass_time(now)
        self._ahead_seconds = max(self._ahead_seconds, 0)
        if self._quiet_seconds >= _COMPLAINTS_APART_SECONDS:
            self._rate = max(self._rate / 2, self._full_rate * _SLOWEST_SHARE)
            self._quiet_seconds = 0

    def pause(self, now: datetime, duration: timedelta) -> None:
        """Let no call through for this long; without a burst at its end."""
        self._pass_time(now)
        self._ahead_seconds = max(self._ahead_seconds, duration.total_seconds())

    def recover(self) -> None:
        """Give back a little of the rate, because a call went well."""
        self._rate = min(self._rate + self._full_rate * _RECOVERY_SHARE, self._full_rate)

    def _pass_time(self, now: datetime) -> None:
        elapsed = 0.0 if self._last_at is None else (now - self._last_at).total_seconds()
        elapsed = max(elapsed, 0.0)
        self._last_at = now
        self._quiet_seconds += elapsed
        saved_up = max(_BURST_SECONDS - 1 / self._rate, 0.0)
        self._ahead_seconds = max(self._ahead_seconds - elapsed, -saved_up)
