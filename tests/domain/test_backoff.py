"""Delays grow, stay within their bounds and listen to Retry-After."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.domain.backoff import exponential_delay, parse_retry_after

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MIDDLE = 0.5

delays = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365))
randoms = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 20), (6, 20), (10**9, 20)]
)
def test_the_delay_doubles_up_to_the_ceiling(attempt: int, seconds: int) -> None:
    delay = exponential_delay(attempt, first=2 * SECOND, ceiling=20 * SECOND, random=MIDDLE)
    assert delay == timedelta(seconds=seconds)


def test_random_numbers_spread_the_delay_by_the_jitter_either_way() -> None:
    def delay(random: float) -> timedelta:
        return exponential_delay(1, first=10 * SECOND, ceiling=60 * SECOND, random=random)

    assert delay(0) == 8 * SECOND
    assert delay(MIDDLE) == 10 * SECOND
    assert 11.99 * SECOND < delay(0.9999) < 12 * SECOND


def test_the_ceiling_is_spread_too_so_that_nobody_comes_back_in_step() -> None:
    low = exponential_delay(20, first=SECOND, ceiling=10 * SECOND, jitter=0.5, random=0)
    assert low == 5 * SECOND


def test_without_a_first_delay_there_is_none() -> None:
    assert exponential_delay(5, first=timedelta(0), ceiling=SECOND, random=MIDDLE) == timedelta(0)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=10**6), delays, delays, randoms)
def test_no_delay_is_negative_or_above_the_spread_ceiling(
    attempt: int, first: timedelta, ceiling: timedelta, random: float
) -> None:
    delay = exponential_delay(attempt, first=first, ceiling=ceiling, random=random)
    assert timedelta(0) <= delay <= ceiling * 1.2 + timedelta(microseconds=1)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=100), delays, delays)
def test_a_later_attempt_never_waits_less(
    attempt: int, first: timedelta, ceiling: timedelta
) -> None:
    earlier = exponential_delay(attempt, first=first, ceiling=ceiling, random=MIDDLE)
    later = exponential_delay(attempt + 1, first=first, ceiling=ceiling, random=MIDDLE)
    assert later >= earlier


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7 * SECOND),
        (" 7 ", 7 * SECOND),
        ("0", 0 * SECOND),
        ("1.5", 1.5 * SECOND),
        ("-5", 0 * SECOND),
        ("+5", 5 * SECOND),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30 * SECOND),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30 * SECOND),
        ("Mon, 23 Nov 2026 14:00:30 +0200", 30 * SECOND),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0 * SECOND),
        ("9999999999", timedelta(days=365)),
        ("31 Dec 9999 23:59:59 -1200", timedelta(days=365)),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, expected: timedelta) -> None:
    assert parse_retry_after(value, now=NOW) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "soon",
        "1_000",
        "inf",
        "nan",
        "1e3",
        "٣",
        "9" * 30,
        "Mon, 99 Nov 2026 12:00:30 GMT",
        "21 Oct 2015 07:28:00 +9999999999999999999",
    ],
)
def test_garbage_in_retry_after_says_nothing(value: str | None) -> None:
    assert parse_retry_after(value, now=NOW) is None


date_like = st.lists(
    st.sampled_from(
        ["Mon", ",", " ", "23", "Nov", "-", "2026", "12:00:30", ":", "GMT", "+0200", "99999", "0"]
    )
).map("".join)


@settings(deadline=None)
@given(st.one_of(st.text(), date_like))
def test_no_header_breaks_the_reader(value: str) -> None:
    delay = parse_retry_after(value, now=NOW)
    assert delay is None or delay >= timedelta(0)
