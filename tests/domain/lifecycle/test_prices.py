"""The price that Novita's rows show is the price; above the order's limit it is told, once."""

from dataclasses import replace
from decimal import Decimal

import pytest

from gpukeeper.contract.events import describe_change
from gpukeeper.contract.instances import describe_instance
from gpukeeper.contract.serialization import to_dict
from gpukeeper.domain.events import Change, EventType
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.lifecycle import observations
from gpukeeper.domain.machines import Phase
from tests.domain.builders import LIMITS, MINUTE, NOW, ORDER, instance, seen
from tests.instances import edit

CHEAP, DEAR, DEARER = Decimal("0.175"), Decimal("0.95"), Decimal("1.2")
LIMITED = replace(ORDER, max_price_per_hour=Decimal("0.18"))


def running(price: Decimal | None = CHEAP, **changes: object) -> Instance:
    facts = {"order": LIMITED, "price_per_hour": price} | changes
    return instance(Status.RUNNING, **facts)


def shown(row: Instance, price: Decimal | None, phase: Phase = Phase.UP) -> Instance:
    said = seen(phase, price_per_hour=price, at=NOW)
    return observations.observe(row, said, NOW, LIMITS)


def test_the_price_that_novita_shows_is_taken_over() -> None:
    assert shown(running(), DEAR).machine.price_per_hour == DEAR


def test_a_row_that_says_no_price_leaves_the_one_that_was_known() -> None:
    assert shown(running(), None).machine.price_per_hour == CHEAP


def test_the_price_is_taken_over_after_a_stopped_machine_was_started_again() -> None:
    row = instance(Status.STARTING, order=LIMITED, price_per_hour=CHEAP)
    assert shown(row, DEAR, Phase.STARTING).is_above_limit


def test_a_price_that_rises_above_the_limit_is_told_once_per_crossing() -> None:
    told, row = [], running()
    for price in (CHEAP, DEAR, DEAR, DEARER, CHEAP, DEAR):
        after = shown(row, price)
        told.append(Change(row, after, NOW).event_types)
        row = after
    above, changed = (EventType.PRICE_ABOVE_LIMIT,), (EventType.PRICE_CHANGED,)
    assert told == [(), above, (), changed, changed, above]


def test_the_event_says_both_the_price_and_the_limit() -> None:
    before = running()
    change = Change(before, shown(before, DEAR), NOW)
    data = describe_change(change, EventType.PRICE_ABOVE_LIMIT)
    assert data["error"] == {
        "code": "price_above_limit",
        "message": "Novita shows a price of $0.950 per hour, above the order's limit of $0.180.",
    }
    assert data["instance"]["pricePerHour"] == "0.95"
    assert data["instance"]["maxPricePerHour"] == "0.18"
    assert describe_change(change, EventType.PRICE_CHANGED)["error"] is None


def test_a_machine_without_a_limit_is_above_none() -> None:
    before = running(order=ORDER)
    after = shown(before, DEAR)
    assert not after.is_above_limit
    assert Change(before, after, NOW).event_types == (EventType.PRICE_CHANGED,)


def test_a_machine_that_is_gone_is_above_no_limit() -> None:
    assert running(DEAR).is_above_limit
    assert not running(DEAR, gone_at=NOW).is_above_limit
    assert not running(None).is_above_limit


def test_a_machine_that_comes_back_above_its_limit_is_told_of_again() -> None:
    gone = running(DEAR, gone_at=NOW)
    back = edit(gone, gone_at=None)
    assert Change(gone, back, NOW).event_types == (EventType.PRICE_ABOVE_LIMIT,)


def test_the_price_of_a_purchase_is_no_change_of_price() -> None:
    before = instance(Status.CREATING, price_per_hour=None, novita_id=None)
    after = edit(before, price_per_hour=CHEAP, novita_id="m1")
    assert Change(before, after, NOW).event_types == ()


@pytest.mark.parametrize(
    ("phase", "status", "gpu"),
    [
        (Phase.PREPARING, Status.CREATING, "0"),
        (Phase.STARTING, Status.STARTING, "0.175"),
        (Phase.UP, Status.RUNNING, "0.175"),
        (Phase.DOWN, Status.STOPPED, "0"),
    ],
)
def test_an_instance_says_what_it_costs_now(phase: Phase, status: Status, gpu: str) -> None:
    order = replace(ORDER, rootfs_size_gb=500)
    row = instance(status, order=order, phase=phase, price_per_hour=CHEAP)
    body = to_dict(describe_instance(row))
    assert body["costPerHour"] == {"gpuUsd": gpu, "diskUsd": "0.091667"}
    assert body["isBilling"]


def test_since_when_a_machine_is_off_is_kept_until_it_is_on_again() -> None:
    failed = instance(Status.FAILED, price_per_hour=CHEAP)
    off = shown(failed, CHEAP, Phase.DOWN)
    assert off.machine.gpu_off_at == NOW
    later = replace(seen(Phase.DOWN), at=NOW + MINUTE)
    assert observations.observe(off, later, NOW + MINUTE, LIMITS).machine.gpu_off_at == NOW
    going = replace(seen(Phase.GOING), at=NOW + MINUTE)
    assert observations.observe(off, going, NOW + MINUTE, LIMITS).machine.gpu_off_at == NOW
    on = replace(seen(Phase.UP), at=NOW + MINUTE)
    assert (
        observations.observe(off, on, NOW + MINUTE, LIMITS, is_single=True).machine.gpu_off_at
        is None
    )
