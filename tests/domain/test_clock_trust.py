"""A clock that jumps ahead is not followed before the jump is confirmed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.clock_trust import (
    LONGEST_ABSENCE,
    NOVITA_TOLERANCE,
    PATIENCE,
    TOLERANCE,
    ClockDoubt,
    TrustedTime,
    begin_time,
    check_with_novita,
    read_time,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AHEAD = timedelta(days=100)
# A clock that has just jumped.
JUMPED = read_time(TrustedTime(NOW, 0.0), NOW + AHEAD, 0.0)


def test_a_clock_that_goes_as_seconds_pass_is_followed() -> None:
    assert read_time(TrustedTime(NOW, 5.0), NOW + 7 * SECOND, 12.0) == TrustedTime(
        NOW + 7 * SECOND, 12.0
    )


@pytest.mark.parametrize("off", [TOLERANCE, -TOLERANCE, -AHEAD])
def test_a_small_correction_and_a_clock_that_is_set_back_are_followed_at_once(
    off: timedelta,
) -> None:
    assert read_time(TrustedTime(NOW, 0.0), NOW + off, 0.0) == TrustedTime(NOW + off, 0.0)


def test_after_a_jump_ahead_time_goes_on_from_before_it() -> None:
    assert TrustedTime(NOW, 0.0, ClockDoubt(AHEAD, 0.0)) == JUMPED
    later = read_time(JUMPED, NOW + AHEAD + 60 * SECOND, 60.0)
    assert later == TrustedTime(NOW + 60 * SECOND, 60.0, ClockDoubt(AHEAD, 0.0))


def test_a_clock_that_comes_back_leaves_nothing() -> None:
    assert read_time(JUMPED, NOW + 30 * SECOND, 30.0) == TrustedTime(NOW + 30 * SECOND, 30.0)


def test_a_clock_that_keeps_to_its_jump_for_long_is_believed_and_not_before() -> None:
    seconds = PATIENCE.total_seconds()
    almost = read_time(JUMPED, NOW + AHEAD + PATIENCE - SECOND, seconds - 1)
    assert almost.doubt == ClockDoubt(AHEAD, 0.0)
    assert read_time(almost, NOW + AHEAD + PATIENCE, seconds) == TrustedTime(
        NOW + AHEAD + PATIENCE, seconds
    )


def test_a_clock_that_jumps_again_begins_to_be_doubted_anew() -> None:
    again = read_time(JUMPED, NOW + 2 * AHEAD, 1.0)
    assert again == TrustedTime(NOW + SECOND, 1.0, ClockDoubt(2 * AHEAD - SECOND, 1.0))


@pytest.mark.parametrize("off", [timedelta(0), NOVITA_TOLERANCE, -NOVITA_TOLERANCE])
def test_novitas_time_confirms_a_jump(off: timedelta) -> None:
    assert check_with_novita(JUMPED, NOW + AHEAD, NOW + AHEAD + off) == TrustedTime(
        NOW + AHEAD, 0.0
    )


def test_a_clock_that_novita_contradicts_is_not_believed_however_long_it_keeps_to_it() -> None:
    time, seconds = JUMPED, 0.0
    while seconds < 4 * PATIENCE.total_seconds():
        seconds += 60
        passed = timedelta(seconds=seconds)
        time = read_time(time, NOW + AHEAD + passed, seconds)
        time = check_with_novita(time, NOW + AHEAD + passed, NOW + passed)
        assert time.at == NOW + passed
        assert time.doubt is not None


@pytest.mark.parametrize("novita", [NOW - AHEAD, NOW + 2 * AHEAD])
def test_a_time_of_novitas_that_agrees_with_nothing_changes_nothing(novita: datetime) -> None:
    assert check_with_novita(JUMPED, NOW + AHEAD, novita) == JUMPED


def test_a_service_that_was_off_goes_by_novitas_time_however_long_its_clock_is_ahead() -> None:
    off, ahead = timedelta(days=7), timedelta(days=365)
    time, seconds = begin_time(NOW, NOW + off + ahead, 0.0), 0.0
    while seconds < 4 * PATIENCE.total_seconds():
        seconds += 10
        passed = timedelta(seconds=seconds)
        time = read_time(time, NOW + off + ahead + passed, seconds)
        time = check_with_novita(time, NOW + off + ahead + passed, NOW + off + passed)
        assert time.at == NOW + off + passed
        assert time.doubt is not None


def test_a_clock_that_nobody_doubts_needs_no_confirmation() -> None:
    assert check_with_novita(TrustedTime(NOW, 0.0), NOW, NOW + AHEAD) == TrustedTime(NOW, 0.0)


@pytest.mark.parametrize("newest", [None, NOW, NOW - LONGEST_ABSENCE, NOW + AHEAD])
def test_a_start_soon_after_what_was_stored_last_believes_the_clock(
    newest: datetime | None,
) -> None:
    assert begin_time(newest, NOW, 3.0) == TrustedTime(NOW, 3.0)


def test_a_start_long_after_what_was_stored_last_goes_on_from_then_until_it_is_confirmed() -> None:
    time = begin_time(NOW, NOW + AHEAD, 3.0)
    assert time == TrustedTime(NOW, 3.0, ClockDoubt(AHEAD, 3.0))
    assert check_with_novita(time, NOW + AHEAD, NOW + AHEAD) == TrustedTime(NOW + AHEAD, 3.0)


def test_a_long_silence_of_the_process_is_a_jump_where_it_is_asked_to_be() -> None:
    minute = timedelta(seconds=60)
    clock = NOW + 61 * SECOND
    assert read_time(TrustedTime(NOW, 0.0), clock, 61.0) == TrustedTime(clock, 61.0)
    assert read_time(TrustedTime(NOW, 0.0), NOW + minute, 60.0, longest_lapse=minute).doubt is None
    stopped = read_time(TrustedTime(NOW, 0.0), clock, 61.0, longest_lapse=minute)
    assert stopped == TrustedTime(NOW, 61.0, ClockDoubt(61 * SECOND, 61.0))
    assert check_with_novita(stopped, clock, clock) == TrustedTime(clock, 61.0)


@given(
    st.lists(
        st.tuples(st.floats(0, 59), st.sampled_from([0, 0, 0, 30, 7200, -7200, 10**7])), max_size=40
    )
)
def test_time_never_runs_faster_than_seconds_pass_but_by_what_is_tolerated_or_confirmed(
    steps: list[tuple[float, int]],
) -> None:
    time, steady, clock = TrustedTime(NOW, 0.0), 0.0, NOW
    for passed, jump in steps:
        steady += passed
        clock += timedelta(seconds=passed + jump)
        after = read_time(time, clock, steady)
        is_confirmed = time.doubt is not None and after.doubt is None
        if not is_confirmed:
            assert after.at - time.at <= timedelta(seconds=passed) + TOLERANCE + SECOND
        time = after
