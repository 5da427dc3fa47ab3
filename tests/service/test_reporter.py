"""What is said of what happens: the level and words of log lines, and the metrics."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.events import Change, Event, EventType
from gpukeeper.domain.instances import Duplicate, Instance, Reason, Status
from gpukeeper.novita.client import CallReport
from gpukeeper.reporter import Reporter
from gpukeeper.store.facts import SweepState
from gpukeeper.telemetry import create_metrics, get_logger
from tests.instances import edit
from tests.store.rows import HOOK, NOW, SECOND, an_instance

ROW = an_instance(1)
Logs = list[dict[str, Any]]


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(create_metrics(), get_logger("test"), lambda: NOW + 60 * SECOND)


def _metric(reporter: Reporter, name: str, **labels: str) -> float | None:
    return reporter.metrics.registry.get_sample_value(f"gpukeeper_{name}", labels)


def _said(reporter: Reporter, change: Change) -> Logs:
    with capture_logs() as logs:
        reporter.changed(change)
    return [dict(entry) for entry in logs]


def _to(status: Status, **facts: Any) -> Change:
    return Change(ROW, edit(ROW, status=status, **facts), NOW)


@pytest.mark.parametrize(
    ("status", "level"),
    [
        (Status.CREATING, "info"),
        (Status.RUNNING, "info"),
        (Status.DELETED, "info"),
        (Status.RECLAIMED, "warning"),
        (Status.FAILED, "error"),
        (Status.LOST, "error"),
    ],
)
def test_a_change_of_status_is_said_as_loudly_as_it_matters(
    reporter: Reporter, status: Status, level: str
) -> None:
    (entry,) = _said(reporter, _to(status))
    assert entry["log_level"] == level
    assert entry["event"] == "instance_changed"
    assert (entry["previous_status"], entry["status"]) == ("requested", status.value)
    assert (entry["instance_id"], entry["name"]) == ("ins_000001", "trainer-1")


def test_a_failure_is_said_with_its_reason(reporter: Reporter) -> None:
    reason = Reason("out_of_stock", "Novita had none left.")
    (entry,) = _said(reporter, _to(Status.FAILED, reason=reason, novita_status="exited"))
    assert (entry["code"], entry["reason"]) == ("out_of_stock", "Novita had none left.")
    assert entry["novita_status"] == "exited"


def test_a_price_above_the_limit_is_an_error_and_a_count(reporter: Reporter) -> None:
    order = replace(ROW.order, max_price_per_hour=Decimal("0.18"))
    cheap = edit(ROW, order=order, novita_id="m1", price_per_hour=Decimal("0.175"))
    dear = edit(cheap, price_per_hour=Decimal("0.95"))
    assert _metric(reporter, "price_above_limit_total") == 0
    (entry,) = _said(reporter, Change(cheap, dear, NOW))
    assert (entry["log_level"], entry["event"]) == ("error", "price_above_limit")
    assert (entry["price_per_hour"], entry["limit"]) == ("0.95", "0.18")
    assert _metric(reporter, "price_above_limit_total") == 1
    assert _said(reporter, Change(dear, edit(dear, doubts=1), NOW)) == []


def test_a_new_order_is_said(reporter: Reporter) -> None:
    (entry,) = _said(reporter, Change(None, ROW, NOW))
    assert (entry["previous_status"], entry["status"]) == (None, "requested")


def test_what_leaves_the_status_alone_is_not_said(reporter: Reporter) -> None:
    assert _said(reporter, _to(Status.REQUESTED, failures=1)) == []


def test_a_second_machine_of_one_order_is_said_as_an_error(reporter: Reporter) -> None:
    found = edit(ROW, novita_id="nv1", duplicates=(Duplicate("nv2", NOW, NOW),))
    (entry,) = _said(reporter, Change(edit(ROW, novita_id="nv1"), found, NOW))
    assert (entry["event"], entry["log_level"]) == ("surplus_found", "error")
    assert (entry["novita_id"], entry["surplus"]) == ("nv1", ["nv2"])


def test_an_order_that_novita_accepted_is_counted_once(reporter: Reporter) -> None:
    bought = edit(ROW, status=Status.CREATING, novita_id="nv1")
    reporter.changed(Change(None, ROW, NOW))
    reporter.changed(Change(ROW, bought, NOW))
    reporter.changed(Change(bought, replace(bought, status=Status.FAILED), NOW))
    assert _metric(reporter, "orders_total", outcome="accepted") == 1
    assert _metric(reporter, "orders_total", outcome="failed") is None


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [(Reason("out_of_stock", "none left"), "out_of_stock"), (None, "failed")],
)
def test_an_order_that_failed_is_counted_by_its_code(
    reporter: Reporter, reason: Reason | None, outcome: str
) -> None:
    reporter.changed(_to(Status.FAILED, reason=reason))
    assert _metric(reporter, "orders_total", outcome=outcome) == 1


def test_the_time_to_running_is_measured_the_first_time_only(reporter: Reporter) -> None:
    def run_at(row: Instance, seconds: int) -> Instance:
        after = replace(row, status=Status.RUNNING, running_at=NOW + seconds * SECOND)
        reporter.changed(Change(row, after, NOW))
        return after

    first = run_at(edit(ROW, status=Status.STARTING, novita_id="nv1"), 42)
    run_at(replace(first, status=Status.STARTING), 4200)
    assert _metric(reporter, "time_to_running_seconds_count") == 1
    assert _metric(reporter, "time_to_running_seconds_sum") == 42


@pytest.mark.parametrize(
    ("looks", "calls", "result"),
    [
        (SweepState(), 1, "complete"),
        (SweepState(vanished=9), 1, "doubted"),
        (SweepState(error="incomplete"), 3, "incomplete"),
        (SweepState(error="no answer"), 0, "failed"),
        (SweepState(error="no answer", vanished=9), 0, "failed"),
    ],
)
def test_a_look_is_counted_by_its_result_and_timed(
    reporter: Reporter, looks: SweepState, calls: int, result: str
) -> None:
    reporter.looked(looks, calls, timedelta(seconds=1.5))
    assert _metric(reporter, "looks_total", result=result) == 1
    assert _metric(reporter, "look_duration_seconds_sum") == 1.5


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (DeliveryStatus.PENDING, "failed"),
        (DeliveryStatus.DELIVERED, "delivered"),
        (DeliveryStatus.EXHAUSTED, "exhausted"),
        (DeliveryStatus.ENDED, "ended"),
    ],
)
def test_an_attempt_to_deliver_is_counted_and_a_delivery_is_timed_from_its_event(
    reporter: Reporter, status: DeliveryStatus, outcome: str
) -> None:
    event = Event("evt_1", EventType.RUNNING, "ins_000001", NOW, {})
    delivery = Delivery("dlv_1", event, HOOK, True, "lane", status, NOW, None)
    reporter.attempted(delivery, DeliveryAttempt(1, NOW, SECOND, 204, None, ""))
    assert _metric(reporter, "webhook_attempts_total", outcome=outcome) == 1
    lag = 60 if status is DeliveryStatus.DELIVERED else 0
    assert _metric(reporter, "webhook_lag_seconds_sum") == lag


def test_a_call_to_novita_is_counted_and_timed(reporter: Reporter) -> None:
    reporter.called(CallReport("list", "GET", "/list", "ok", seconds=0.25, status=200))
    assert _metric(reporter, "novita_calls_total", route="list", outcome="ok") == 1
    assert _metric(reporter, "novita_call_duration_seconds_sum", route="list") == 0.25


def test_a_turn_of_a_loop_leaves_its_time(reporter: Reporter) -> None:
    reporter.turned("look")
    beat = _metric(reporter, "loop_heartbeat_timestamp_seconds", loop="look")
    assert beat == (NOW + 60 * SECOND).timestamp()


def test_a_fault_of_our_own_is_counted_by_where_it_happened(reporter: Reporter) -> None:
    reporter.failed("deliver")
    assert _metric(reporter, "unhandled_errors_total", where="deliver") == 1
