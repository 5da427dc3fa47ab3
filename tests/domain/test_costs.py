"""What a machine has cost so far: the time in which it was billed, times its price."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from gpukeeper.domain.costs import billed_of, cost_so_far
from gpukeeper.domain.instance import Status
from gpukeeper.domain.spans import Life
from tests.domain.making import NOW

S = Status


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def life(*entered: tuple[Status, float], gone_at: datetime | None = None) -> Life:
    return Life("RTX", Decimal("0.60"), tuple((s, at(m)) for s, m in entered), gone_at)


@pytest.mark.parametrize(
    ("way", "stretches"),
    [
        (life((S.REQUESTED, 0)), []),
        (life((S.REQUESTED, 0), (S.FAILED, 1)), []),
        (life((S.REQUESTED, 0), (S.CREATING, 1), (S.STARTING, 2), (S.RUNNING, 3)), [(1, None)]),
        (life((S.CREATING, 1), (S.RUNNING, 3), (S.STOPPING, 9), (S.STOPPED, 10)), [(1, 10)]),
        (
            life((S.CREATING, 0), (S.STOPPED, 10), (S.STARTING, 30), (S.RUNNING, 40)),
            [(0, 10), (30, None)],
        ),
        # Deleting what is stopped costs nothing, deleting what runs does until it is gone.
        (life((S.CREATING, 0), (S.STOPPED, 10), (S.DELETING, 20), (S.DELETED, 30)), [(0, 10)]),
        (life((S.CREATING, 0), (S.DELETING, 20), (S.DELETED, 30)), [(0, 30)]),
        (life((S.CREATING, 0), (S.RECLAIMED, 7)), [(0, 7)]),
        (life((S.CREATING, 0), (S.LOST, 7)), [(0, 7)]),
        # A machine that did not come up exists and is billed until Novita says that it is gone.
        (life((S.CREATING, 0), (S.FAILED, 10)), [(0, None)]),
        (life((S.CREATING, 0), (S.FAILED, 10), gone_at=at(12)), [(0, 12)]),
    ],
)
def test_a_machine_is_billed_from_its_acceptance_until_it_is_down(
    way: Life, stretches: list[tuple[float, float | None]]
) -> None:
    expected = tuple(
        (at(since), None if until is None else at(until)) for since, until in stretches
    )

    assert billed_of(way) == expected


def test_the_cost_so_far_is_the_billed_time_at_the_price_per_hour() -> None:
    way = life((S.CREATING, 0), (S.STOPPED, 30), (S.STARTING, 60))

    assert cost_so_far(way, at(90)) == Decimal("0.60")
    assert cost_so_far(way, at(105)) == Decimal("0.75")


def test_what_was_never_bought_has_no_cost() -> None:
    assert cost_so_far(Life("RTX", None, ((S.REQUESTED, NOW),)), at(60)) is None


def test_what_is_no_longer_known_of_has_no_cost() -> None:
    assert cost_so_far(life(), at(60)) is None
