"""How long an instance was in which status, and what was there on the average over time."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.instances import Status
from gpukeeper.domain.status_timeline import (
    StatusPeriod,
    Timeline,
    Window,
    mean_levels,
    status_periods,
    time_to_running,
)
from tests.domain.builders import MINUTE, NOW, REPEATABLE

HOUR = Window(NOW, NOW + 60 * MINUTE, 6)


def life(*entered: tuple[Status, float]) -> Timeline:
    """Return a life whose statuses were entered so many minutes from now on."""
    return Timeline(
        "RTX 4090 24GB", None, tuple((status, at(minute)) for status, minute in entered)
    )


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_each_status_lasts_until_the_next_and_the_last_one_still_does() -> None:
    way = life((Status.REQUESTED, 0), (Status.CREATING, 1), (Status.RUNNING, 5))

    assert status_periods(way) == (
        StatusPeriod(Status.REQUESTED, at(0), at(1)),
        StatusPeriod(Status.CREATING, at(1), at(5)),
        StatusPeriod(Status.RUNNING, at(5), None),
    )


def test_a_life_without_events_has_no_span() -> None:
    assert status_periods(life()) == ()


@pytest.mark.parametrize(
    ("way", "took"),
    [
        (life((Status.REQUESTED, 0), (Status.STARTING, 1), (Status.RUNNING, 4)), 4 * MINUTE),
        # Only the first way counts, not what a restart takes.
        (life((Status.REQUESTED, 0), (Status.RUNNING, 4), (Status.RUNNING, 9)), 4 * MINUTE),
        (life((Status.REQUESTED, 0), (Status.FAILED, 10)), None),
        # An adopted machine was not ordered here: when its way began is not known.
        (life((Status.CREATING, 0), (Status.RUNNING, 1)), None),
        (life(), None),
    ],
)
def test_the_time_to_running_is_that_of_the_first_way(
    way: Timeline, took: timedelta | None
) -> None:
    assert time_to_running(way) == took


@pytest.mark.parametrize(
    ("weighed", "expected"),
    [
        ([], [0, 0, 0, 0, 0, 0]),
        # Within one part, over a border, over several parts, and to the end.
        ([(at(2), at(7), 1.0)], [0.5, 0, 0, 0, 0, 0]),
        ([(at(5), at(15), 2.0)], [1, 1, 0, 0, 0, 0]),
        ([(at(5), at(35), 2.0)], [1, 2, 2, 1, 0, 0]),
        ([(at(55), None, 4.0)], [0, 0, 0, 0, 0, 2]),
        # From before the window to after it, and entirely outside of it.
        ([(at(-90), at(90), 3.0)], [3, 3, 3, 3, 3, 3]),
        ([(at(-90), at(-10), 3.0), (at(70), None, 3.0)], [0, 0, 0, 0, 0, 0]),
        # Several at the same time add up.
        ([(at(0), at(20), 1.0), (at(10), at(30), 1.0)], [1, 2, 1, 0, 0, 0]),
        # What ends before it begins, because clocks differ, is nothing.
        ([(at(20), at(10), 1.0)], [0, 0, 0, 0, 0, 0]),
    ],
)
def test_a_level_is_the_mean_of_what_held_in_each_part(
    weighed: list[tuple[datetime, datetime | None, float]], expected: list[float]
) -> None:
    assert mean_levels(weighed, HOUR) == pytest.approx(expected)


_TIMES = st.floats(-30, 90).map(at)


@REPEATABLE
@given(st.lists(st.tuples(_TIMES, _TIMES | st.none(), st.floats(0, 10)), max_size=8))
def test_levels_times_their_length_are_all_that_held_in_the_window(
    weighed: list[tuple[datetime, datetime | None, float]],
) -> None:
    held = sum(
        weight * max((min(until or at(60), at(60)) - max(since, at(0))) / MINUTE, 0)
        for since, until, weight in weighed
    )

    assert sum(mean_levels(weighed, HOUR)) * 10 == pytest.approx(held, abs=1e-3)
