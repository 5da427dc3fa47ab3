"""What a machine costs now, and has cost so far: GPUs while they are on, disk while it exists."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from gpukeeper.domain.costs import (
    Rate,
    billed_periods,
    cost_so_far,
    describe_rate,
    disk_per_hour,
    list_charges,
    rate_of,
    rate_of_orphan,
    whole_dollars_per_hour,
)
from gpukeeper.domain.instances import Command, Duplicate, Instance, LastCommand, Status
from gpukeeper.domain.machines import Phase
from gpukeeper.domain.status_timeline import Timeline
from tests.domain.builders import NOW, ORDER, instance, seen
from tests.instances import edit

S = Status


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def life(*entered: tuple[Status, float], gone_at: datetime | None = None) -> Timeline:
    return Timeline("RTX", Decimal("0.60"), tuple((s, at(m)) for s, m in entered), gone_at)


@pytest.mark.parametrize(
    ("amount", "said"),
    [("0.1", "$0.100"), ("5", "$5.000"), ("20", "$20.000"), ("0.17512", "$0.17512")],
)
def test_a_price_that_is_compared_keeps_all_its_places(amount: str, said: str) -> None:
    assert whole_dollars_per_hour(Decimal(amount)) == said


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
    way: Timeline, stretches: list[tuple[float, float | None]]
) -> None:
    expected = tuple(
        (at(since), None if until is None else at(until)) for since, until in stretches
    )

    assert billed_periods(way) == expected


def test_the_cost_so_far_is_the_billed_time_at_the_price_per_hour() -> None:
    way = life((S.CREATING, 0), (S.STOPPED, 30), (S.STARTING, 60))

    assert cost_so_far(way, at(90)) == Decimal("0.60")
    assert cost_so_far(way, at(105)) == Decimal("0.75")


def test_what_was_never_bought_has_no_cost() -> None:
    never = Timeline("RTX", None, ((S.REQUESTED, NOW),))
    assert cost_so_far(never, at(60)) is None
    assert list_charges(never) == ()


def test_what_is_no_longer_known_of_has_no_cost() -> None:
    assert cost_so_far(life(), at(60)) is None


PRICE = Decimal("0.60")
# 440 GB above the free ones, each $0.005 a day.
DISK = Decimal("2.20") / 24


def row(status: Status, phase: Phase | None, *, disk_gb: int = 60, **facts: object) -> Instance:
    order = replace(ORDER, rootfs_size_gb=disk_gb)
    return instance(status, order=order, phase=phase, price_per_hour=PRICE, **facts)


@pytest.mark.parametrize(
    ("status", "phase", "gpu"),
    [
        (S.CREATING, Phase.PREPARING, 0),
        (S.STARTING, Phase.STARTING, PRICE),
        (S.RUNNING, Phase.UP, PRICE),
        (S.STOPPING, Phase.GOING_DOWN, PRICE),
        (S.STOPPED, Phase.DOWN, 0),
        (S.RECLAIMED, Phase.DOWN, 0),
        (S.FAILED, Phase.STARTING, PRICE),
        # A word that nobody knows may cost money.
        (S.RUNNING, Phase.UNKNOWN, PRICE),
        # It was just bought, and no look has shown it yet.
        (S.CREATING, None, PRICE),
        (S.DELETING, Phase.GOING, PRICE),
    ],
)
def test_gpus_cost_from_the_pull_of_the_image_until_the_machine_has_stopped(
    status: Status, phase: Phase | None, gpu: Decimal | int
) -> None:
    assert rate_of(row(status, phase)) == Rate(Decimal(gpu), Decimal(0))


def test_a_failed_machine_that_exited_costs_its_disk_alone() -> None:
    off = row(S.FAILED, Phase.DOWN, disk_gb=500, gpu_off_at=NOW)
    assert rate_of(off) == Rate(Decimal(0), DISK)
    # On the way to its end its GPUs stay off.
    assert rate_of(edit(off, status=S.DELETING, phase=Phase.GOING)).gpu == 0


def test_disk_above_the_free_size_costs_for_as_long_as_the_machine_exists() -> None:
    assert disk_per_hour(60) == disk_per_hour(10) == 0
    assert rate_of(row(S.STOPPED, Phase.DOWN, disk_gb=500)) == Rate(Decimal(0), DISK)
    assert rate_of(row(S.RUNNING, Phase.UP, disk_gb=500)).total == PRICE + DISK
    assert rate_of(row(S.LOST, Phase.UP, disk_gb=500, gone_at=NOW)) == Rate()
    assert rate_of(row(S.REQUESTED, None, disk_gb=500, novita_id=None)) == Rate()


def test_a_start_that_novita_has_accepted_costs_before_a_look_shows_it() -> None:
    earlier = NOW - timedelta(minutes=1)
    down = row(S.STARTING, Phase.DOWN, gpu_off_at=earlier, observed_at=earlier)
    asked = LastCommand(Command.START, NOW, is_acknowledged=True)
    assert rate_of(down).gpu == 0
    assert rate_of(edit(down, last_command=asked)).gpu == PRICE
    assert rate_of(edit(down, last_command=asked, observed_at=None)).gpu == PRICE
    assert rate_of(edit(down, last_command=replace(asked, is_acknowledged=False))).gpu == 0
    assert rate_of(edit(down, last_command=replace(asked, verb=Command.STOP))).gpu == 0
    # It was seen down after that.
    assert rate_of(edit(down, last_command=asked, observed_at=NOW + timedelta(seconds=1))).gpu == 0


def test_a_second_machine_costs_as_much_until_it_is_gone() -> None:
    spare = Duplicate("m2", NOW, NOW)
    both = row(S.RUNNING, Phase.UP, disk_gb=500, duplicates=(spare, replace(spare, gone_at=NOW)))
    assert rate_of(both) == Rate(2 * PRICE, 2 * DISK)


def test_an_orphan_costs_what_novita_lists_and_an_exited_one_its_disk() -> None:
    orphan = seen(Phase.UP, price_per_hour=PRICE, rootfs_size_gb=500)
    assert rate_of_orphan(orphan) == Rate(PRICE, DISK)
    assert rate_of_orphan(replace(orphan, phase=Phase.DOWN)) == Rate(Decimal(0), DISK)
    assert rate_of_orphan(replace(orphan, phase=Phase.GONE)) == Rate()
    assert rate_of_orphan(replace(orphan, price_per_hour=None)).gpu == 0


def test_the_cost_so_far_has_the_disk_in_it_while_the_machine_exists() -> None:
    way = life((S.CREATING, 0), (S.RUNNING, 1), (S.STOPPED, 60))
    with_disk = replace(way, disk_gb=500)
    assert cost_so_far(with_disk, at(120)) == Decimal("0.60") + 2 * DISK
    ended = replace(way, disk_gb=500, entered=(*way.entered, (S.DELETED, at(120))))
    assert cost_so_far(ended, at(999)) == Decimal("0.60") + 2 * DISK
    gone = replace(with_disk, gone_at=at(120))
    assert cost_so_far(gone, at(999)) == Decimal("0.60") + 2 * DISK


def test_a_failed_machine_that_exited_goes_on_costing_nothing() -> None:
    way = life((S.CREATING, 0), (S.STARTING, 10), (S.FAILED, 20))
    assert cost_so_far(replace(way, gpu_off_at=at(60)), at(600)) == Decimal("0.60")
    assert cost_so_far(replace(way, disk_gb=60), at(60)) == Decimal("0.60")


def test_each_hour_costs_the_price_of_its_time() -> None:
    way = life((S.CREATING, 0), (S.RUNNING, 1))
    prices = ((at(0), Decimal("0.60")), (at(60), Decimal("1.20")), (at(90), Decimal("0.20")))
    dear = replace(way, price_per_hour=Decimal("0.20"), prices=prices)
    assert cost_so_far(dear, at(150)) == Decimal("0.60") + Decimal("0.60") + Decimal("0.20")
    # Of a time before the first price that is known, that one holds.
    assert cost_so_far(replace(dear, prices=prices[1:]), at(90)) == Decimal("1.80")
    # After it stopped, prices change nothing.
    stopped = replace(dear, entered=(*dear.entered, (S.STOPPED, at(60))))
    assert cost_so_far(stopped, at(150)) == Decimal("0.60")


def test_a_rate_is_told_in_dollars_an_hour_and_dollars_a_day() -> None:
    assert describe_rate(Decimal("0.175"), DISK) == "GPU $0.175/h, disk $2.20/day"
    assert describe_rate(Decimal(0), Decimal(0)) == "GPU no, disk $0.00/day"
