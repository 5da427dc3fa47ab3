"""A clock that jumps ahead is not followed before the jump is confirmed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.trust import (
    LONGEST_ABSENCE,
    NOVITA_TOLERANCE,
    PATIENCE,
    TOLERANCE,
    Doubt,
    Time,
    begin,
    hear,
    read,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AHEAD = timedelta(days=100)
# A clock that has just jumped.
JUMPED = read(Time(NOW, 0.0), NOW + AHEAD, 0.0)


def test_a_clock_that_goes_as_seconds_pass_is_followed() -> None:
    assert read(Time(NOW, 5.0), NOW + 7 * SECOND, 12.0) == Time(NOW + 7 * SECOND, 12.0)


@pytest.mark.parametrize("off", [TOLERANCE, -TOLERANCE, -AHEAD])
def test_a_small_correction_and_a_clock_that_is_set_back_are_followed_at_once(
    off: timedelta,
) -> None:
    assert read(Time(NOW, 0.0), NOW + off, 0.0) == Time(NOW + off, 0.0)


def test_after_a_jump_ahead_time_goes_on_from_before_it() -> None:
    assert Time(NOW, 0.0, Doubt(AHEAD, 0.0)) == JUMPED
    later = read(JUMPED, NOW + AHEAD + 60 * SECOND, 60.0)
    assert later == Time(NOW + 60 * SECOND, 60.0, Doubt(AHEAD, 0.0))


def test_a_clock_that_comes_back_leaves_nothing() -> None:
    assert read(JUMPED, NOW + 30 * SECOND, 30.0) == Time(NOW + 30 * SECOND, 30.0)


def test_a_clock_that_keeps_to_its_jump_for_long_is_believed_and_not_before() -> None:
    seconds = PATIENCE.total_seconds()
    almost = read(JUMPED, NOW + AHEAD + PATIENCE - SECOND, seconds - 1)
    assert almost.doubt == Doubt(AHEAD, 0.0)
    assert read(almost, NOW + AHEAD + PATIENCE, seconds) == Time(NOW + AHEAD + PATIENCE, seconds)


def test_a_clock_that_jumps_again_begins_to_be_doubted_anew() -> None:
    again = read(JUMPED, NOW + 2 * AHEAD, 1.0)
    assert again == Time(NOW + SECOND, 1.0, Doubt(2 * AHEAD - SECOND, 1.0))


@pytest.mark.parametrize("off", [timedelta(0), NOVITA_TOLERANCE, -NOVITA_TOLERANCE])
def test_novitas_time_confirms_a_jump(off: timedelta) -> None:
    assert hear(JUMPED, NOW + AHEAD, NOW + AHEAD + off) == Time(NOW + AHEAD, 0.0)


def test_a_clock_that_novita_contradicts_is_not_believed_however_long_it_keeps_to_it() -> None:
    time, seconds = JUMPED, 0.0
    while seconds < 4 * PATIENCE.total_seconds():
        seconds += 60
        passed = timedelta(seconds=seconds)
        time = read(time, NOW + AHEAD + passed, seconds)
        time = hear(time, NOW + AHEAD + passed, NOW + passed)
        assert time.at == NOW + passed
        assert time.doubt is not None


@pytest.mark.parametrize("novita", [NOW - AHEAD, NOW + 2 * AHEAD])
def test_a_time_of_novitas_that_agrees_with_nothing_changes_nothing(novita: datetime) -> None:
    assert hear(JUMPED, NOW + AHEAD, novita) == JUMPED


def test_a_service_that_was_off_goes_by_novitas_time_however_long_its_clock_is_ahead() -> None:
    off, ahead = timedelta(days=7), timedelta(days=365)
    time, seconds = begin(NOW, NOW + off + ahead, 0.0), 0.0
    while seconds < 4 * PATIENCE.total_seconds():
        seconds += 10
        passed = timedelta(seconds=seconds)
        time = read(time, NOW + off + ahead + passed, seconds)
        time = hear(time, NOW + off + ahead + passed, NOW + off + passed)
        assert time.at == NOW + off + passed
        assert time.doubt is not None


def test_a_clock_that_nobody_doubts_needs_no_confirmation() -> None:
    assert hear(Time(NOW, 0.0), NOW, NOW + AHEAD) == Time(NOW, 0.0)


@pytest.mark.parametrize("newest", [None, NOW, NOW - LONGEST_ABSENCE, NOW + AHEAD])
def test_a_start_soon_after_what_was_stored_last_believes_the_clock(
    newest: datetime | None,
) -> None:
    assert begin(newest, NOW, 3.0) == Time(NOW, 3.0)


def test_a_start_long_after_what_was_stored_last_goes_on_from_then_until_it_is_confirmed() -> None:
    time = begin(NOW, NOW + AHEAD, 3.0)
    assert time == Time(NOW, 3.0, Doubt(AHEAD, 3.0))
    assert hear(time, NOW + AHEAD, NOW + AHEAD) == Time(NOW + AHEAD, 3.0)


def test_a_long_silence_of_the_process_is_a_jump_where_it_is_asked_to_be() -> None:
    minute = timedelta(seconds=60)
    clock = NOW + 61 * SECOND
    assert read(Time(NOW, 0.0), clock, 61.0) == Time(clock, 61.0)
    assert read(Time(NOW, 0.0), NOW + minute, 60.0, longest_lapse=minute).doubt is None
    stopped = read(Time(NOW, 0.0), clock, 61.0, longest_lapse=minute)
    assert stopped == Time(NOW, 61.0, Doubt(61 * SECOND, 61.0))
    assert hear(stopped, clock, clock) == Time(clock, 61.0)


@given(
    st.lists(
        st.tuples(st.floats(0, 59), st.sampled_from([0, 0, 0, 30, 7200, -7200, 10**7])), max_size=40
    )
)
def test_time_never_runs_faster_than_seconds_pass_but_by_what_is_tolerated_or_confirmed(
    steps: list[tuple[float, int]],
) -> None:
    time, steady, clock = Time(NOW, 0.0), 0.0, NOW
    for passed, jump in steps:
        steady += passed
        clock += timedelta(seconds=passed + jump)
        after = read(time, clock, steady)
        is_confirmed = time.doubt is not None and after.doubt is None
        if not is_confirmed:
            assert after.at - time.at <= timedelta(seconds=passed) + TOLERANCE + SECOND
        time = after
