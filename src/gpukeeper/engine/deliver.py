"""The five lines for a delivery: claim, send, decide, and store the attempt.

Deliveries of one lane leave one after the other; lanes never wait for each other, and a receiver
never holds more than its share of the workers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gpukeeper.contract.events import encode_webhook
from gpukeeper.domain.deliveries import (
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    RetryPolicy,
    record_attempt,
)
from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.fairness import Capacity
from gpukeeper.engine.leases import HeldLeases, new_lease
from gpukeeper.engine.loop import Clock, Workers
from gpukeeper.engine.receiver_stats import ReceiverStats
from gpukeeper.store import deliveries
from gpukeeper.store.db.database import Database
from gpukeeper.telemetry import Logger, tracing
from gpukeeper.webhooks.sender import Receipt, Sender
from gpukeeper.webhooks.urls import shown_url


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Sends the deliveries that are due."""

    database: Database
    sender: Sender
    policy: RetryPolicy
    clock: Clock
    random: Callable[[], float]
    new_token: Callable[[], str]
    workers: Workers
    leasing: HeldLeases
    on_attempt: Callable[[Delivery, DeliveryAttempt], None]
    log: Logger
    receivers: ReceiverStats = field(default_factory=ReceiverStats)

    async def turn(self) -> datetime | None:
        """Claim what is due, start sending it, and return when the next delivery is due."""
        now = self.clock()
        await self.leasing.renew(now)
        room = self._room
        if not room.free:
            self.workers.call_when_free()
            return None
        lease = new_lease(self.new_token(), now)
        claimed, next_due_at = await self.database.write(
            lambda connection: (
                deliveries.claim(connection, now, lease, room=room),
                deliveries.next_due_at(connection, now, room=room),
            )
        )
        self.leasing.hold(lease)
        for delivery in claimed:
            self.receivers.begin(delivery.url)
            self.workers.start(self.work(delivery, lease.token), delivery.id, lease.token)
        if self._room.is_tight:
            # More may be due to whoever has all that it may.
            self.workers.call_when_free()
        return next_due_at

    async def work(self, delivery: Delivery, lease_token: str) -> None:
        """Send one leased delivery and store what came of it."""
        try:
            self.leasing.check(delivery.id, lease_token, self.clock())
            tried, attempt = await self._send(delivery)
            is_any_due = await self.database.write(
                lambda connection: deliveries.finish(connection, tried, attempt, lease_token)
            )
            if is_any_due:
                self.workers.call_when_free()
            self._tell(tried, attempt)
        except LeaseLost:
            self.log.info("lease_lost", delivery_id=delivery.id)
        finally:
            self.receivers.end(delivery.url)

    @property
    def _room(self) -> Capacity:
        return self.receivers.room(workers=self.workers.limit, free=self.workers.room)

    async def _send(self, delivery: Delivery) -> tuple[Delivery, DeliveryAttempt]:
        event = delivery.event
        with tracing.start_span(
            f"webhook {event.type}", kind=tracing.SpanKind.CLIENT, parent=event.traceparent
        ) as span:
            receipt = await self.sender.send(
                url=delivery.url,
                is_trusted=delivery.is_trusted,
                webhook_id=event.id,
                body=encode_webhook(event),
                traceparent=tracing.current_traceparent(),
            )
            if span.is_recording():
                tracing.describe(span, _described(delivery, receipt))
        self.receivers.learn(delivery.url, took=receipt.duration)
        tried = record_attempt(
            delivery,
            is_delivered=receipt.is_delivered,
            is_gone=receipt.is_gone,
            retry_after=receipt.retry_after,
            now=self.clock(),
            policy=self.policy,
            random=self.random(),
        )
        attempt = DeliveryAttempt(
            number=tried.attempts,
            at=receipt.at,
            duration=receipt.duration,
            response_status=receipt.status,
            error=receipt.error,
            answer=receipt.answer,
        )
        return tried, attempt

    def _tell(self, delivery: Delivery, attempt: DeliveryAttempt) -> None:
        self.on_attempt(delivery, attempt)
        said = {
            "delivery_id": delivery.id,
            "event_id": delivery.event.id,
            "event_type": delivery.event.type.value,
            "instance_id": delivery.event.instance_id,
            "url": shown_url(delivery.url),
            "attempt": attempt.number,
            "response_status": attempt.response_status,
            "error": attempt.error,
        }
        match delivery.status:
            case DeliveryStatus.DELIVERED:
                self.log.info("delivered", **said)
            case DeliveryStatus.PENDING:
                self.log.warning("delivery_failed", next_at=str(delivery.due_at), **said)
            case DeliveryStatus.EXHAUSTED:
                self.log.error("delivery_exhausted", **said)
            case DeliveryStatus.ENDED:
                self.log.warning("delivery_ended_by_receiver", **said)


def _described(delivery: Delivery, receipt: Receipt) -> tracing.Attributes:
    attributes: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.request.resend_count": delivery.attempts,
        "gpukeeper.delivery.id": delivery.id,
        "gpukeeper.event.id": delivery.event.id,
        **tracing.server_attributes(delivery.url),
    }
    if delivery.event.instance_id is not None:
        attributes["gpukeeper.instance.id"] = delivery.event.instance_id
    if receipt.status is not None:
        attributes["http.response.status_code"] = receipt.status
    if not receipt.is_delivered:
        attributes["error.type"] = str(receipt.status or "no_answer")
    return attributes
