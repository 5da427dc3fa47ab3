"""Read the service's JSON into the values of :mod:`gpukeeper.client.answers`.

A reader raises KeyError, TypeError, ValueError or ArithmeticError (:data:`UNREADABLE`) when the
body is not what the service would say.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.client.answers import (
    ConnectionInfo,
    DeliveryAttemptInfo,
    DeliveryInfo,
    EventInfo,
    InstanceInfo,
    Item,
    Json,
    OfferInfo,
    OrphanInfo,
    Page,
    RegionInfo,
    TemplateInfo,
)
from gpukeeper.domain.instances import Attempt, Endpoint, Reason

UNREADABLE = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)


def page_of(key: str, read: Callable[[Json], Item]) -> Callable[[Json], Page[Item]]:
    """Return a reader of lists that stand under ``key``."""

    def read_page(body: Json) -> Page[Item]:
        return Page(
            items=tuple(read(each) for each in body[key]),
            raw=body,
            total=body.get("total"),
            next_cursor=body.get("nextCursor"),
        )

    return read_page


def instance_of(body: Json) -> InstanceInfo:
    """Read an instance (contract §4.3)."""
    return InstanceInfo(
        id=body["id"],
        name=body.get("name", ""),
        status=body["status"],
        raw=body,
        reason=_reason(body.get("reason")),
        novita_id=body.get("novitaId"),
        novita_status=body.get("novitaStatus"),
        product_name=body.get("productName") or "",
        product_id=body.get("productId"),
        region=body.get("region") or "",
        cluster_id=body.get("clusterId"),
        template_id=body.get("templateId") or "",
        image_url=body.get("imageUrl"),
        gpu_num=body.get("gpuNum", 1),
        rootfs_size_gb=body.get("rootfsSize", 0),
        billing_mode=body.get("billingMode") or "",
        price_per_hour=_money(body.get("pricePerHour")),
        max_price_per_hour=_money(body.get("maxPricePerHour")),
        gpu_usd_per_hour=_cost(body, "gpuUsd"),
        disk_usd_per_hour=_cost(body, "diskUsd"),
        is_billing=body.get("isBilling", False),
        labels=body.get("labels") or {},
        endpoints=_endpoints(body),
        ssh_command=body.get("sshCommand"),
        attempts=attempts_of(body),
        created_at=_time(body.get("createdAt")),
        started_at=_time(body.get("startedAt")),
        running_at=_time(body.get("runningAt")),
        deleted_at=_time(body.get("deletedAt")),
        reclaim_at=_time(body.get("reclaimAt")),
        observed_at=_time(body.get("observedAt")),
        is_stale=body.get("stale", False),
    )


def connection_of(body: Json) -> ConnectionInfo:
    """Read how a machine is reached."""
    return ConnectionInfo(
        endpoints=_endpoints(body),
        ssh_command=body.get("sshCommand") or "",
        ssh_password=body.get("sshPassword") or "",
        raw=body,
    )


def offer_of(body: Json) -> OfferInfo:
    """Read an offer."""
    return OfferInfo(
        product_id=body["productId"],
        product_name=body.get("productName") or "",
        region=body.get("region") or "",
        cluster_id=body.get("clusterId") or "",
        billing_mode=body.get("billingMode") or "",
        gpu_num=body.get("gpuNum", 1),
        price_per_hour=_money(body.get("pricePerHour")),
        stock=body.get("stock") or "",
        max_rootfs_size=body.get("maxRootfsSize"),
        raw=body,
    )


def template_of(body: Json) -> TemplateInfo:
    """Read a template."""
    return TemplateInfo(
        id=body["id"],
        name=body.get("name") or "",
        image_url=body.get("imageUrl") or "",
        raw=body,
    )


def region_of(body: Json) -> RegionInfo:
    """Read a region."""
    return RegionInfo(name=body["name"], cluster_id=body.get("clusterId") or "", raw=body)


def event_of(body: Json, *, position: str | None = None) -> EventInfo:
    """Read an event, of an instance's history or one that has just happened."""
    data = body.get("data") or {}
    instance = data.get("instance")
    return EventInfo(
        id=body["id"],
        type=body["type"],
        at=_time(body.get("timestamp")),
        status=(instance or {}).get("status"),
        previous_status=data.get("previousStatus"),
        error=_reason(data.get("error")),
        instance=instance_of(instance) if instance else None,
        raw=body,
        position=position,
    )


def delivery_of(body: Json) -> DeliveryInfo:
    """Read a delivery, with its attempts where the service shows them."""
    attempts = tuple(_delivery_attempt(each) for each in body.get("attempts") or ())
    return DeliveryInfo(
        id=body["id"],
        status=body["status"],
        url=body.get("url") or "",
        event_id=body.get("eventId") or "",
        event_type=body.get("eventType") or "",
        instance_id=body.get("instanceId"),
        attempt_count=body.get("attemptCount", len(attempts)),
        attempts=attempts,
        created_at=_time(body.get("createdAt")),
        next_attempt_at=_time(body.get("nextAttemptAt")),
        finished_at=_time(body.get("finishedAt")),
        raw=body,
    )


def orphan_of(body: Json) -> OrphanInfo:
    """Read an orphan."""
    return OrphanInfo(
        novita_id=body["novitaId"],
        name=body.get("name") or "",
        novita_status=body.get("novitaStatus") or "",
        product_name=body.get("productName") or "",
        region=body.get("region") or "",
        price_per_hour=_money(body.get("pricePerHour")),
        gpu_usd_per_hour=_cost(body, "gpuUsd"),
        disk_usd_per_hour=_cost(body, "diskUsd"),
        created_at=_time(body.get("createdAt")),
        first_seen_at=_time(body.get("firstSeenAt")),
        last_seen_at=_time(body.get("lastSeenAt")),
        raw=body,
        is_foreign=bool(body.get("isForeign")),
    )


def _cost(body: Json, part: str) -> Decimal | None:
    """Read what something costs now; a service of an older version does not say."""
    return _money((body.get("costPerHour") or {}).get(part))


def attempts_of(body: Json) -> tuple[Attempt, ...]:
    """Read the tries to buy that an instance, or a problem, tells of."""
    return tuple(
        Attempt(
            product_id=each.get("productId") or "",
            region=each.get("region") or "",
            price_per_hour=Decimal(each["pricePerHour"]),
            outcome=each["outcome"],
            detail=each.get("detail"),
            at=datetime.fromisoformat(each["at"]),
        )
        for each in body.get("attempts") or ()
    )


def _delivery_attempt(body: Json) -> DeliveryAttemptInfo:
    duration_ms = body.get("durationMs")
    return DeliveryAttemptInfo(
        number=body.get("number", 0),
        at=_time(body.get("at")),
        duration=None if duration_ms is None else timedelta(milliseconds=duration_ms),
        response_status=body.get("responseStatus"),
        error=body.get("error"),
        answer=body.get("answer") or "",
    )


def _endpoints(body: Json) -> tuple[Endpoint, ...]:
    return tuple(
        Endpoint(port=each["port"], type=each.get("type") or "", url=each.get("url") or "")
        for each in body.get("endpoints") or ()
    )


def _reason(body: Json | None) -> Reason | None:
    return Reason(body.get("code") or "", body.get("message") or "") if body else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(str(text))
