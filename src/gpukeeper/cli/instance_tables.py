"""How instances are shown to people."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from gpukeeper.cli.output import hourly, money, record, table, when
from gpukeeper.client import InstanceInfo
from gpukeeper.domain.costs import Rate, in_words
from gpukeeper.domain.instance import Attempt, Reason, Status

_COLUMNS = ("ID", "NAME", "STATUS", "PRODUCT", "GPUS", "REGION", "USD/H", "BILLING", "CREATED")


def as_table(instances: Iterable[InstanceInfo]) -> str:
    """Return a table with a row for each instance."""
    rows = (
        (
            each.id,
            each.name,
            _status_text(each),
            each.product_name,
            str(each.gpu_num),
            each.region,
            hourly(each.price_per_hour),
            each.billing_mode,
            when(each.created_at),
        )
        for each in instances
    )
    return table(_COLUMNS, rows)


def as_record(instance: InstanceInfo) -> str:
    """Return everything about one instance, a fact to a line."""
    return record(_facts(instance))


def reason_text(reason: Reason | None) -> str | None:
    """Return why an instance is in its status."""
    return f"{reason.message} [{reason.code}]" if reason else None


def costs_money(instance: InstanceInfo) -> bool:
    """Whether a machine is billed now; where the service does not say how much, it may be."""
    gpu, disk = instance.gpu_usd_per_hour, instance.disk_usd_per_hour
    if gpu is None or disk is None or not instance.novita_id:
        return instance.is_billing
    return instance.is_billing and gpu + disk > 0


def billed_text(instance: InstanceInfo) -> str:
    """Return what is billed now: ``GPU no, disk $0.00/day``."""
    if not instance.is_billing:
        return "no"
    if not instance.novita_id:
        return "not known: the answer to the purchase is being looked up"
    return cost_text(instance.gpu_usd_per_hour, instance.disk_usd_per_hour) or "yes"


def cost_text(gpu: Decimal | None, disk: Decimal | None) -> str | None:
    """Return what a machine costs now, if the service says so."""
    return None if gpu is None or disk is None else in_words(Rate(gpu, disk))


def _above_limit(instance: InstanceInfo) -> str | None:
    limit = money(instance.max_price_per_hour)
    return f"yes, it was ordered for at most {limit}/h" if instance.is_above_limit else None


def _facts(instance: InstanceInfo) -> Iterator[tuple[str, str | None]]:
    price = hourly(instance.price_per_hour)
    yield "id", instance.id
    yield "name", instance.name
    yield "status", _status_text(instance)
    yield "reason", reason_text(instance.reason)
    yield "product", f"{instance.gpu_num} x {instance.product_name}"
    yield "region", instance.region
    yield "price", f"${price}/h, {instance.billing_mode}" if price else instance.billing_mode
    yield "above limit", _above_limit(instance)
    yield "billed", billed_text(instance)
    yield "disk", f"{instance.rootfs_size_gb} GB" if instance.rootfs_size_gb else None
    yield "template", instance.template_id
    yield "image", instance.image_url
    for key, value in instance.labels.items():
        yield "label", f"{key}={value}"
    for endpoint in instance.endpoints:
        yield "endpoint", f"{endpoint.port}/{endpoint.type} {endpoint.url}"
    yield "ssh", instance.ssh_command
    yield "created", when(instance.created_at)
    yield "started", when(instance.started_at)
    is_up = instance.status in (Status.RUNNING, Status.STOPPING)
    yield "running since" if is_up else "ran from", when(instance.running_at)
    yield "taken back at", when(instance.reclaim_at)
    yield "deleted", when(instance.deleted_at)
    yield "at novita", _said_by_novita(instance)
    for attempt in instance.attempts:
        yield "tried", attempt_text(attempt)


def attempt_text(attempt: Attempt) -> str:
    """Return what one try to buy came to."""
    detail = f" ({attempt.detail})" if attempt.detail else ""
    return (
        f"{attempt.product_id} in {attempt.region} "
        f"at {money(attempt.price_per_hour)}/h: {attempt.outcome}{detail}"
    )


def _status_text(instance: InstanceInfo) -> str:
    """Return the status with what a person should know of it at a glance."""
    marks = []
    if instance.is_stale:
        marks.append("stale")
    if instance.status == "failed" and instance.is_billing and not instance.novita_id:
        marks.append("may be billed")
    elif instance.status == "failed" and costs_money(instance):
        marks.append("still billed")
    if instance.is_above_limit:
        marks.append("above limit")
    return f"{instance.status} ({', '.join(marks)})" if marks else instance.status


def _said_by_novita(instance: InstanceInfo) -> str | None:
    if not instance.novita_id:
        return None
    if not instance.novita_status and not instance.is_billing:
        return f"{instance.novita_id}: gone"
    seen = f", seen {when(instance.observed_at)}" if instance.observed_at else ""
    return f"{instance.novita_id}: {instance.novita_status or 'not seen yet'}{seen}"
