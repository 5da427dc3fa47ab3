"""New rows: of orders, and of machines at Novita that no row knew."""

from dataclasses import replace
from typing import Any

import pytest

from gpukeeper.domain.instances import DesiredState, Instance, PurchaseIntent, Status
from gpukeeper.domain.lifecycle.new_instance import (
    create_from_machine,
    create_from_order,
    is_open,
    settle_adopted,
)
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.products import BillingMode
from tests.domain.builders import LIMITS, NOW, ORDER, offer, requested, seen


def placed(**options: Any) -> Instance:
    usual: dict[str, Any] = {"deployment": "te5t", "region": "US-01", "random_bytes": bytes}
    return create_from_order(replace(ORDER, region=""), NOW, **{**usual, **options})


def adopted(machine: Observation, *, is_name_free: bool = True) -> Instance:
    return create_from_machine(
        machine,
        NOW,
        deployment="te5t",
        random_bytes=bytes,
        is_name_free=is_name_free,
        traceparent="00-trace",
    )


def test_an_order_is_due_at_once_in_the_usual_region_under_a_name_of_its_own() -> None:
    row = placed()
    assert (row.status, row.due_at, row.order.region) == (Status.REQUESTED, NOW, "US-01")
    assert row.deadline_at == NOW + ORDER.startup_timeout
    assert row.novita_name == "trainer-gkte5t00000000"
    assert placed(novita_name="given").novita_name == "given"


def test_an_order_is_open_until_it_is_bought_or_looked_up() -> None:
    assert is_open(requested())
    assert is_open(requested(intent=PurchaseIntent(offer(), NOW)))
    assert not is_open(requested(intent=PurchaseIntent(offer(), NOW, NOW, NOW)))
    assert not is_open(requested(status=Status.CREATING))


@pytest.mark.parametrize(
    ("mode", "is_billed_as"),
    [("onDemand", BillingMode.ON_DEMAND), ("monthly", BillingMode.SPOT), ("", BillingMode.SPOT)],
)
def test_a_machine_becomes_an_instance_with_what_novita_says_of_it(
    mode: str, is_billed_as: BillingMode
) -> None:
    machine = seen(
        Phase.UP, billing_mode=mode, cluster_name="US-01 (Ohio)", product_id="p", gpu_num=2
    )
    row = adopted(machine)
    assert (row.status, row.machine.novita_id, row.machine.region) == (
        Status.CREATING,
        "m1",
        "US-01",
    )
    assert (row.order.name, row.order.gpu_num, row.order.region) == ("trainer", 2, "US-01")
    assert (row.order.billing_mode, row.traceparent) == (is_billed_as, "00-trace")
    assert row.purchase.accepted_at == NOW


def test_a_name_that_another_row_has_or_that_is_too_long_is_made_unique() -> None:
    machine = seen(Phase.UP)
    assert adopted(machine).novita_name == machine.name
    assert adopted(machine, is_name_free=False).novita_name == f"{machine.name}#m1"
    long = replace(machine, name="n" * 200)
    names = {adopted(long).novita_name, adopted(replace(long, novita_id="m2")).novita_name}
    assert {len(name) for name in names} == {80}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("phase", "status", "desired"),
    [
        (Phase.UP, Status.RUNNING, DesiredState.RUNNING),
        (Phase.STARTING, Status.STARTING, DesiredState.RUNNING),
        (Phase.DOWN, Status.STOPPED, DesiredState.STOPPED),
        (Phase.GOING_DOWN, Status.STOPPING, DesiredState.STOPPED),
    ],
)
def test_a_machine_is_taken_in_as_it_was_found(
    phase: Phase, status: Status, desired: DesiredState
) -> None:
    machine = seen(phase, billing_mode="onDemand")
    row = settle_adopted(adopted(machine), machine, NOW, LIMITS)
    assert (row.status, row.desired_state) == (status, desired)
