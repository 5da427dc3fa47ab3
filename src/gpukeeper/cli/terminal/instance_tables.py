"""How instances are shown to people."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import typer

from gpukeeper.cli.service_access import get_access
from gpukeeper.cli.terminal.output import (
    Format,
    format_age,
    format_dollars,
    format_price,
    format_record,
    format_time,
    format_time_left,
    show,
)
from gpukeeper.cli.terminal.text_tables import Column, format_table, terminal_width
from gpukeeper.client import InstanceInfo
from gpukeeper.client.name_lookup import SHORT_ID_LENGTH
from gpukeeper.contract.instances import Attempt, Reason
from gpukeeper.domain.costs import describe_rate
from gpukeeper.domain.instances import Status

# Below this there is room for one word beside the name and the price.
_NARROW = 60

# Beside these no address and no word of Novita's may say that they run.
_GONE = frozenset({Status.DELETED, Status.LOST})
_DOWN = _GONE | {Status.STOPPED, Status.RECLAIMED}


def show_row(ctx: typer.Context, instance: InstanceInfo, output: Format) -> None:
    """Show one instance as a row of the table."""
    now = get_access(ctx).now()
    show(output, instance.raw, lambda: format_instances([instance], now=now))


def format_instances(instances: Iterable[InstanceInfo], *, now: datetime) -> str:
    """Return a table with a row for each instance."""
    width = terminal_width()
    # A program reads every column, whole, and always in this order.
    if width is None:
        return format_table(
            (
                Column("ID", lambda each: each.id),
                Column("NAME", lambda each: each.name),
                Column("STATUS", lambda each: status_text(each, now)),
                Column("PRODUCT", lambda each: each.product_name),
                Column("GPUS", lambda each: str(each.gpu_num)),
                Column("REGION", lambda each: each.region),
                Column("USD/H", lambda each: format_price(each.price_per_hour)),
                Column("BILLING", lambda each: each.billing_mode),
                Column("CREATED", lambda each: format_time(each.created_at)),
            ),
            instances,
        )
    describe_status = _brief_status if width < _NARROW else status_text
    # A person reads what matters first; a rank says what goes first where there is no room.
    return format_table(
        (
            Column("NAME", lambda each: each.name, narrowest=9),
            Column("STATUS", lambda each: describe_status(each, now)),
            Column("USD/H", lambda each: format_price(each.price_per_hour), is_right=True),
            Column("AGE", lambda each: format_age(now, each.created_at), rank=1, is_right=True),
            Column("PRODUCT", lambda each: each.product_name, rank=3, narrowest=13),
            Column("GPUS", lambda each: str(each.gpu_num), rank=5, is_right=True),
            Column("REGION", lambda each: each.region, rank=4),
            Column("BILLING", lambda each: each.billing_mode, rank=6),
            Column("ID", lambda each: each.id[-SHORT_ID_LENGTH:], rank=2),
        ),
        instances,
    )


def format_instance(instance: InstanceInfo, *, now: datetime) -> str:
    """Return everything about one instance, a fact to a line."""
    return format_record(_facts(instance, now))


def describe_attention(instances: Sequence[InstanceInfo]) -> str | None:
    """Return how many of these need attention, and why."""
    kinds = (
        (
            "failed",
            [each for each in instances if each.status == Status.FAILED and not is_refused(each)],
        ),
        ("reclaimed", [each for each in instances if each.status == Status.RECLAIMED]),
        ("to be taken back", [each for each in instances if is_notified(each)]),
        ("above the price limit", [each for each in instances if each.is_above_limit]),
        ("lost", [each for each in instances if each.status == Status.LOST]),
    )
    counted = [f"{len(found)} {word}" for word, found in kinds if found]
    return f"Needs attention: {', '.join(counted)}." if counted else None


def is_refused(instance: InstanceInfo) -> bool:
    """Whether the order failed with nothing bought, so that it never cost anything."""
    is_failed = instance.status == Status.FAILED
    return is_failed and not instance.novita_id and not instance.is_billing


def is_notified(instance: InstanceInfo) -> bool:
    """Whether Novita has said that it will take the machine back, and has not done so yet."""
    return instance.reclaim_at is not None and instance.status not in (*_GONE, Status.RECLAIMED)


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
    """Return the bill of this moment: ``GPU no, disk $0.00/day``."""
    if not instance.is_billing:
        return "no"
    if not instance.novita_id:
        return "not known: the answer to the purchase is being looked up"
    return cost_text(instance.gpu_usd_per_hour, instance.disk_usd_per_hour) or "yes"


def cost_text(gpu: Decimal | None, disk: Decimal | None) -> str | None:
    """Return the present costs of a machine, if the service says them."""
    return None if gpu is None or disk is None else describe_rate(gpu, disk)


def _above_limit(instance: InstanceInfo) -> str | None:
    limit = format_dollars(instance.max_price_per_hour)
    return f"yes, it was ordered for at most {limit}/h" if instance.is_above_limit else None


def status_text(instance: InstanceInfo, now: datetime) -> str:
    """Return the status with what a person should know of it at a glance."""
    marks = [instance.status]
    if is_refused(instance):
        marks.append("nothing bought")
    if bill := _bill_of_failure(instance):
        marks.append(bill)
    if instance.is_above_limit:
        marks.append("above limit")
    if is_notified(instance):
        marks.append(_reclaim_text(instance, now))
    if instance.is_stale:
        marks.append("stale")
    return ", ".join(marks)


def _brief_status(instance: InstanceInfo, now: datetime) -> str:
    """Return the one thing that costs most not to know, in at most 16 cells."""
    if is_refused(instance):
        return "failed, refused"
    if bill := _bill_of_failure(instance):
        return "failed, billed" if instance.novita_id else bill
    if instance.is_above_limit:
        return "above limit"
    if is_notified(instance):
        return _reclaim_text(instance, now).replace("taken back in", "taken in")
    return status_text(instance, now)


def _bill_of_failure(instance: InstanceInfo) -> str | None:
    """Return that a failed instance goes on costing, which its owner would not expect."""
    if instance.status != Status.FAILED or not costs_money(instance):
        return None
    return "still billed" if instance.novita_id else "may be billed"


def _reclaim_text(instance: InstanceInfo, now: datetime) -> str:
    assert instance.reclaim_at is not None
    left = instance.reclaim_at - now
    return f"taken back in {format_time_left(left)}" if left > timedelta(0) else "being taken back"


def _facts(instance: InstanceInfo, now: datetime) -> Iterator[tuple[str, str | None]]:
    price = format_price(instance.price_per_hour)
    yield "id", instance.id
    yield "name", instance.name
    yield "status", status_text(instance, now)
    yield "reason", reason_text(instance.reason)
    yield "product", f"{instance.gpu_num} x {instance.product_name}"
    yield "region", instance.region
    none = "none" if is_refused(instance) else "none yet"
    yield "price", f"{f'${price}/h' if price else none}, {instance.billing_mode}"
    yield "above limit", _above_limit(instance)
    yield "billed", billed_text(instance)
    yield "disk", f"{instance.rootfs_size_gb} GB" if instance.rootfs_size_gb else None
    yield "template", instance.template_id
    yield "image", instance.image_url
    for key, value in instance.labels.items():
        yield "label", f"{key}={value}"
    # Of a machine that is down, these are addresses that lead nowhere.
    for endpoint in instance.endpoints if instance.status not in _DOWN else ():
        yield "endpoint", f"{endpoint.port}/{endpoint.type} {endpoint.url}"
    yield "ssh", instance.ssh_command
    yield "created", format_time(instance.created_at)
    yield "started", format_time(instance.started_at)
    is_up = instance.status in (Status.RUNNING, Status.STOPPING)
    yield "running since" if is_up else "ran from", format_time(instance.running_at)
    yield "taken back at", format_time(instance.reclaim_at)
    yield "deleted", format_time(instance.deleted_at)
    yield "at novita", novita_text(instance)
    for attempt in instance.attempts:
        yield "tried", attempt_text(attempt)


def attempt_text(attempt: Attempt) -> str:
    """Return the outcome of one try to buy."""
    detail = f" ({attempt.detail})" if attempt.detail else ""
    return (
        f"{attempt.product_id} in {attempt.region} "
        f"at {format_dollars(attempt.price_per_hour)}/h: {attempt.outcome}{detail}"
    )


def novita_text(instance: InstanceInfo) -> str | None:
    """Return Novita's id of the machine, and its last word of it."""
    if not instance.novita_id:
        return None
    # The word is Novita's last one about a machine that it does not know any more.
    is_ended = not instance.novita_status and not instance.is_billing
    if is_ended or instance.status in _GONE:
        since = format_time(instance.deleted_at or instance.observed_at)
        return f"{instance.novita_id}: not found" + (f" since {since}" if since else "")
    seen = f", seen {format_time(instance.observed_at)}" if instance.observed_at else ""
    return f"{instance.novita_id}: {instance.novita_status or 'not seen yet'}{seen}"


def is_gone(instance: InstanceInfo) -> bool:
    """Whether there is no machine any more."""
    return instance.status in _GONE
