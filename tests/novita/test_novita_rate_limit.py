"""The bucket keeps the rate, slows down when told to, and recovers."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.novita.rate_limit import TokenBucket

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NOTHING = timedelta(0)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def call_times(bucket: TokenBucket, count: int, now: datetime = NOW) -> list[float]:
    """Make calls one after the other as soon as each may be; return when, in seconds."""
    times = []
    at = now
    for _ in range(count):
        at += bucket.wait(at)
        bucket.take(at)
        times.append(round((at - now).total_seconds(), 3))
    return times


def test_a_second_s_worth_of_calls_passes_at_once_and_the_rest_at_the_rate() -> None:
    assert call_times(TokenBucket(rate_per_second=4), 8) == [0, 0, 0, 0, 0.25, 0.5, 0.75, 1]


def test_a_rate_below_one_a_second_spaces_every_call() -> None:
    assert call_times(TokenBucket(rate_per_second=0.5), 3) == [0, 2, 4]


def test_a_quiet_time_saves_up_no_more_than_a_second_s_worth() -> None:
    bucket = TokenBucket(rate_per_second=2)
    call_times(bucket, 5)
    assert call_times(bucket, 4, NOW + timedelta(hours=1)) == [0, 0, 0.5, 1]


@pytest.mark.parametrize("rate", [0, -1, float("inf")])
def test_without_a_limit_nothing_waits_except_for_a_pause(rate: float) -> None:
    bucket = TokenBucket(rate_per_second=rate)
    assert call_times(bucket, 100) == [0] * 100
    bucket.slow_down(NOW)
    bucket.recover()
    assert bucket.wait(NOW) == NOTHING
    bucket.pause(NOW, seconds(5))
    assert bucket.wait(NOW + seconds(2)) == seconds(3)


def test_a_complaint_halves_the_rate_down_to_a_tenth_and_ends_the_burst() -> None:
    bucket = TokenBucket(rate_per_second=8)
    bucket.slow_down(NOW)
    assert bucket.rate_per_second == 4
    assert call_times(bucket, 3) == [0, 0.25, 0.5]
    for minute in range(1, 10):
        bucket.slow_down(NOW + timedelta(minutes=minute))
    assert bucket.rate_per_second == pytest.approx(0.8)


def test_complaints_of_calls_under_way_together_count_once() -> None:
    bucket = TokenBucket(rate_per_second=8)
    for _ in range(10):
        bucket.slow_down(NOW)
    bucket.slow_down(NOW + seconds(0.9))
    assert bucket.rate_per_second == 4
    bucket.slow_down(NOW + seconds(1.1))
    assert bucket.rate_per_second == 2


def test_successes_bring_the_rate_back_gradually_and_no_further() -> None:
    bucket = TokenBucket(rate_per_second=10)
    bucket.slow_down(NOW)
    bucket.recover()
    assert bucket.rate_per_second == pytest.approx(5.1)
    for _ in range(1000):
        bucket.recover()
    assert bucket.rate_per_second == 10


def test_a_pause_holds_every_call_and_ends_without_a_burst() -> None:
    bucket = TokenBucket(rate_per_second=4)
    bucket.pause(NOW, seconds(30))
    assert call_times(bucket, 3) == [30, 30.25, 30.5]


def test_a_shorter_pause_does_not_shorten_a_longer_one() -> None:
    bucket = TokenBucket(rate_per_second=4)
    bucket.pause(NOW, seconds(30))
    bucket.pause(NOW, seconds(1))
    assert bucket.wait(NOW) == seconds(30)


def test_a_clock_that_jumps_back_makes_nobody_wait_for_it_to_catch_up() -> None:
    bucket = TokenBucket(rate_per_second=1)
    bucket.take(NOW)
    an_hour_earlier = NOW - timedelta(hours=1)
    assert bucket.wait(an_hour_earlier) == seconds(1)
    assert bucket.wait(an_hour_earlier + seconds(1)) == NOTHING


@settings(deadline=None)
@given(
    st.floats(min_value=0.1, max_value=1000),
    st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=50),
)
def test_no_window_of_time_ever_sees_more_calls_than_the_rate_allows(
    rate: float, gaps: list[float]
) -> None:
    bucket = TokenBucket(rate_per_second=rate)
    times = []
    at = NOW
    for gap in gaps:
        at += seconds(gap)
        at += bucket.wait(at)
        bucket.take(at)
        times.append(at)
    for first in range(len(times)):
        for last in range(first, len(times)):
            window = (times[last] - times[first]).total_seconds()
            assert last - first + 1 <= rate * window + max(rate, 1) + 0.01


@settings(deadline=None)
@given(st.lists(st.sampled_from(["slow", "recover"]), max_size=300))
def test_the_rate_stays_between_a_tenth_and_the_full_one(moves: list[str]) -> None:
    bucket = TokenBucket(rate_per_second=10)
    for number, move in enumerate(moves):
        if move == "slow":
            bucket.slow_down(NOW + seconds(2 * number))
        else:
            bucket.recover()
        assert 1 <= bucket.rate_per_second <= 10
