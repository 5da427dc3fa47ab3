"""The commands of the webhook log."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated

import typer

from gpukeeper.cli.service_access import find_instance, get_access, open_client
from gpukeeper.cli.terminal.output import (
    Format,
    Output,
    format_age,
    format_record,
    format_time,
    note,
    show,
)
from gpukeeper.cli.terminal.text_tables import Column, format_table, terminal_width
from gpukeeper.client import Client, DeliveryAttemptInfo, DeliveryInfo
from gpukeeper.domain.deliveries import DeliveryStatus

DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]

# Webhooks that were given up within this time are worth a word.
_LATELY = timedelta(hours=24)
# More than these are counted no further.
_COUNTED = 1000


def list_deliveries(
    ctx: typer.Context,
    status: Annotated[
        DeliveryStatus | None, typer.Option(help="Only those in this status.")
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Only those of this instance.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    output: Output = Format.TABLE,
) -> None:
    """List deliveries, newest first."""
    with open_client(ctx) as client:
        # An instance that does not exist has no deliveries either: this request tells.
        instance_id = client.instance(find_instance(client, instance)).id if instance else None
        page = client.deliveries(status=status, instance_id=instance_id, limit=limit)
    show(output, page.raw, lambda: format_deliveries(page.items, now=get_access(ctx).now()))
    if page.next_cursor:
        note(f"The newest {len(page.items)}; --limit shows more.")


def show_delivery(
    ctx: typer.Context, delivery_id: DeliveryId, output: Output = Format.TABLE
) -> None:
    """Show one delivery with its attempts."""
    with open_client(ctx) as client:
        delivery = client.delivery(delivery_id)
    show(output, delivery.raw, lambda: format_record(_facts(delivery)))


def redeliver(ctx: typer.Context, delivery_id: DeliveryId, output: Output = Format.TABLE) -> None:
    """Make a delivery again."""
    with open_client(ctx) as client:
        delivery = client.redeliver(delivery_id)
    show(output, delivery.raw, lambda: format_deliveries([delivery], now=get_access(ctx).now()))


def format_deliveries(deliveries: Iterable[DeliveryInfo], *, now: datetime) -> str:
    """Return a table with a row for each delivery."""
    # A program reads every column, whole, and always in this order.
    if terminal_width() is None:
        return format_table(
            (
                Column("ID", lambda each: each.id),
                Column("EVENT", lambda each: each.event_type),
                Column("STATUS", lambda each: each.status),
                Column("URL", lambda each: each.url),
                Column("ATTEMPTS", lambda each: str(each.attempt_count)),
                Column("INSTANCE", lambda each: each.instance_id),
                Column("CREATED", lambda each: format_time(each.created_at)),
            ),
            deliveries,
        )
    # A person reads less, and the id that the other commands take.
    return format_table(
        (
            Column("EVENT", lambda each: each.event_type),
            Column("STATUS", lambda each: each.status),
            Column("AGE", lambda each: format_age(now, each.created_at), rank=2, is_right=True),
            Column("ID", lambda each: each.id, rank=1),
            Column("URL", lambda each: each.url, rank=3, narrowest=20),
            Column("TRIES", lambda each: str(each.attempt_count), rank=4, is_right=True),
            Column("INSTANCE", lambda each: each.instance_id, rank=5),
        ),
        deliveries,
    )


def describe_missed_webhooks(client: Client, *, now: datetime) -> str | None:
    """Return how many webhooks were given up lately, in a sentence; None if there are none."""
    page = client.deliveries(status=DeliveryStatus.EXHAUSTED, limit=_COUNTED)
    times = [each.finished_at or each.created_at for each in page.items]
    count = sum(1 for at in times if at is not None and at >= now - _LATELY)
    if not count:
        return None
    many = f"{count} webhooks were" if count > 1 else "1 webhook was"
    more = "More than " if page.next_cursor and count == len(times) else ""
    return (
        f"{more}{many} not delivered in the last 24 h: gpukeeper deliveries ls --status exhausted"
    )


def _facts(delivery: DeliveryInfo) -> Iterator[tuple[str, str | None]]:
    yield "id", delivery.id
    yield "event", f"{delivery.event_type} {delivery.event_id}"
    yield "instance", delivery.instance_id
    yield "url", delivery.url
    yield "status", delivery.status
    yield "created", format_time(delivery.created_at)
    yield "next attempt", format_time(delivery.next_attempt_at)
    yield "finished", format_time(delivery.finished_at)
    for attempt in delivery.attempts:
        yield f"attempt {attempt.number}", _attempt_text(attempt)


def _attempt_text(attempt: DeliveryAttemptInfo) -> str:
    outcome = attempt.error or f"HTTP {attempt.response_status}"
    seconds = f" in {attempt.duration.total_seconds():.2f} s" if attempt.duration else ""
    answer = f": {attempt.answer}" if attempt.answer else ""
    return f"{format_time(attempt.at)} {outcome}{seconds}{answer}"
