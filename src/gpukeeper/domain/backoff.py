"""Compute how long to wait before the next try: exponential delays, and what Retry-After asks."""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

# Nobody waits longer than this on one answer's word, and no time of ours overflows by it.
_LONGEST_RETRY_AFTER = timedelta(days=365)

_SECONDS = re.compile(r"[+-]?[0-9]{1,10}(\.[0-9]*)?")


def exponential_delay(
    attempt: int, *, first: timedelta, ceiling: timedelta, jitter: float = 0.2, random: float
) -> timedelta:
    """Return the delay after the given failed attempt (1 is the first one).

    It is ``first`` after attempt 1, doubles with each attempt up to ``ceiling``, and is then
    spread by the share ``jitter``: ``random`` from [0, 1) maps to -jitter…+jitter.  The spread
    comes after the ceiling, so that the longest waits do not end in step.
    """
    if first <= timedelta(0):
        return timedelta(0)
    doublings = attempt - 1
    is_capped = doublings >= math.log2(max(ceiling / first, 1))
    delay = ceiling if is_capped else first * 2**doublings
    return delay * (1 + jitter * (2 * random - 1))


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Return the delay that a Retry-After header asks for, never negative nor above a year.

    The header holds seconds or an HTTP date (RFC 9110 §10.2.3); anything else gives ``None``.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return _clamped(timedelta(seconds=float(text)))
    at = _http_date(text)
    return None if at is None else _clamped(at - now)


def _clamped(delay: timedelta) -> timedelta:
    return min(max(delay, timedelta(0)), _LONGEST_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
