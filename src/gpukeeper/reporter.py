"""What the program says of its work: one log line and the metrics for each thing that happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpukeeper.contract.serialization import format_money
from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.events import Change, EventType, find_new_refusal
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.lifecycle.purchases import NAME_ALTERED
from gpukeeper.novita.client import CallReport
from gpukeeper.store.facts import SweepState
from gpukeeper.telemetry import Logger, Metrics, tracing

_TROUBLE = frozenset({Status.FAILED, Status.LOST})
_WARNING = frozenset({Status.RECLAIMED})


@dataclass(frozen=True, slots=True)
class Reporter:
    """Turns what happens into log lines, metrics, and the spans of calls to Novita."""

    metrics: Metrics
    log: Logger
    clock: Callable[[], datetime]
    # What names Novita's server in a span.
    novita: tracing.Attributes = field(default_factory=dict)

    def called(self, report: CallReport) -> None:
        """Count a call to Novita, and show it in the trace of the work that made it."""
        self.metrics.novita_calls.labels(report.route, report.outcome).inc()
        self.metrics.novita_call_duration.labels(report.route).observe(report.seconds)
        self.metrics.novita_paced.inc(report.paced_seconds)
        self.log.debug(
            "novita_called",
            route=report.route,
            outcome=report.outcome,
            seconds=round(report.seconds, 4),
            status=report.status,
        )
        self._trace(report)

    def changed(self, change: Change) -> None:
        """Tell of a change of status; failures are errors (contract §1, 2.4)."""
        before, after = change.before, change.after
        self._count(change)
        if EventType.SURPLUS_FOUND in change.event_types:
            self.log.error(
                "surplus_found",
                instance_id=after.id,
                novita_id=after.machine.novita_id,
                surplus=list(after.duplicate_ids),
                consequence="they are being deleted",
            )
        if EventType.PRICE_ABOVE_LIMIT in change.event_types:
            self.metrics.prices_above_limit.inc()
            self.log.error(
                "price_above_limit",
                instance_id=after.id,
                novita_id=after.machine.novita_id,
                name=after.order.name,
                price_per_hour=format_money(after.machine.price_per_hour),
                limit=format_money(after.order.max_price_per_hour),
                consequence="it runs on; stop or delete it if that is too dear",
            )
        self._tell_of_name(change)
        self._tell_of_refusal(change)
        if before is not None and before.status is after.status:
            return
        level = "info"
        if after.status in _TROUBLE:
            level = "error"
        elif after.status in _WARNING:
            level = "warning"
        getattr(self.log, level)(
            "instance_changed",
            instance_id=after.id,
            novita_id=after.machine.novita_id,
            name=after.order.name,
            previous_status=before.status.value if before else None,
            status=after.status.value,
            novita_status=after.machine.novita_status,
            code=after.reason.code if after.reason else None,
            reason=after.reason.message if after.reason else None,
        )

    def refused(self, code: str) -> None:
        """Count an order that was refused before anything was stored."""
        self.metrics.orders.labels(code).inc()

    def _tell_of_name(self, change: Change) -> None:
        """Tell once of each machine whose name is not the one that was sent, or may not be."""
        before, after = change.before, change.after
        shown = after.machine.name_at_novita
        shown_before = before.machine.name_at_novita if before else None
        if shown is not None and shown != shown_before:
            self.metrics.altered_names.labels("known").inc()
            self.log.error(
                "name_altered",
                instance_id=after.id,
                novita_id=after.machine.novita_id,
                sent=after.novita_name,
                shown=shown,
                consequence="a purchase that is not answered may not be found by its name",
            )
        is_held, was_held = _is_held_back(after), before is not None and _is_held_back(before)
        if is_held and not was_held and after.reason is not None:
            self.metrics.altered_names.labels("suspected").inc()
            self.log.error(
                "name_altered",
                instance_id=after.id,
                sent=after.novita_name,
                reason=after.reason.message,
                consequence="nothing is bought for this order while the machine exists",
            )

    def _tell_of_refusal(self, change: Change) -> None:
        refusal = find_new_refusal(change)
        if refusal is not None:
            self.log.error(
                "refused_for_good",
                instance_id=change.after.id,
                novita_id=change.after.machine.novita_id,
                code=refusal.code,
                novita_reason=refusal.novita_reason,
                novita_message=refusal.message,
            )

    def looked(self, looks: SweepState, calls: int, took: timedelta) -> None:
        """Tell of a look at the fleet; ``calls`` is how many calls it was, 0 if it failed."""
        if looks.error is not None:
            result = "incomplete" if calls else "failed"
        else:
            result = "doubted" if looks.vanished else "complete"
        self.metrics.looks.labels(result).inc()
        self.metrics.look_duration.observe(took.total_seconds())
        self.log.debug("looked", result=result, calls=calls, seconds=took.total_seconds())

    def attempted(self, delivery: Delivery, attempt: DeliveryAttempt) -> None:
        """Count an attempt to deliver, and how late a successful one was."""
        outcome = delivery.status.value
        if delivery.status is DeliveryStatus.PENDING:
            outcome = "failed"
        self.metrics.webhook_attempts.labels(outcome).inc()
        if delivery.status is DeliveryStatus.DELIVERED:
            lag = self.clock() - delivery.event.at
            self.metrics.webhook_lag.observe(lag.total_seconds())

    def removed(self, rows: Mapping[str, int]) -> None:
        """Count the rows that were too old to keep, by table."""
        for table, count in rows.items():
            self.metrics.removed.labels(table).inc(count)

    def turned(self, loop: str) -> None:
        """Note that a background loop lives."""
        self.metrics.loop_heartbeat.labels(loop).set(self.clock().timestamp())

    def failed(self, where: str) -> None:
        """Count a fault of our own; whoever caught it has logged it."""
        self.metrics.unhandled_errors.labels(where).inc()

    def _trace(self, report: CallReport) -> None:
        attributes: dict[str, str | int] = {
            "http.request.method": report.method,
            "url.template": report.path,
            **self.novita,
        }
        if report.status is not None:
            attributes["http.response.status_code"] = report.status
        if report.outcome != "ok":
            attributes["error.type"] = report.outcome
        tracing.record_span(
            f"{report.method} {report.path}",
            report.seconds,
            kind=tracing.SpanKind.CLIENT,
            attributes=attributes,
        )

    def _count(self, change: Change) -> None:
        before, after = change.before, change.after
        if before is None:
            return
        if before.machine.novita_id is None and after.machine.novita_id is not None:
            self.metrics.orders.labels("accepted").inc()
        elif after.status is Status.FAILED and before.status is Status.REQUESTED:
            self.metrics.orders.labels(after.reason.code if after.reason else "failed").inc()
        is_first_run = before.running_at is None and after.running_at is not None
        if is_first_run and after.running_at is not None:
            took = after.running_at - after.created_at
            self.metrics.time_to_running.observe(took.total_seconds())


def _is_held_back(instance: Instance) -> bool:
    return instance.reason is not None and instance.reason.code == NAME_ALTERED
