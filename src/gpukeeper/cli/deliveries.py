"""The commands of the webhook log."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from gpukeeper.cli.access import open_client
from gpukeeper.cli.lookup import find
from gpukeeper.cli.output import Format, Output, note, record, show, table, when
from gpukeeper.client import DeliveryAttemptInfo, DeliveryInfo
from gpukeeper.domain.events import DeliveryStatus

DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="The delivery's id.")]

_COLUMNS = ("ID", "EVENT", "STATUS", "URL", "ATTEMPTS", "INSTANCE", "CREATED")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Show and repeat webhook deliveries.", no_args_is_help=True)
    group.command("ls")(list_deliveries)
    group.command("show")(show_delivery)
    group.command()(redeliver)
    app.add_typer(group, name="deliveries")


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
        # Asked for, since of an instance that does not exist there are no deliveries either.
        instance_id = client.instance(find(client, instance)).id if instance else None
        page = client.deliveries(status=status, instance_id=instance_id, limit=limit)
    show(output, page.raw, lambda: as_table(page.items))
    if page.next_cursor:
        note(f"The newest {len(page.items)}; --limit shows more.")


def show_delivery(
    ctx: typer.Context, delivery_id: DeliveryId, output: Output = Format.TABLE
) -> None:
    """Show one delivery with its attempts."""
    with open_client(ctx) as client:
        delivery = client.delivery(delivery_id)
    show(output, delivery.raw, lambda: record(_facts(delivery)))


def redeliver(ctx: typer.Context, delivery_id: DeliveryId, output: Output = Format.TABLE) -> None:
    """Make a delivery again."""
    with open_client(ctx) as client:
        delivery = client.redeliver(delivery_id)
    show(output, delivery.raw, lambda: as_table([delivery]))


def as_table(deliveries: Iterable[DeliveryInfo]) -> str:
    """Return a table with a row for each delivery."""
    rows = (
        (
            each.id,
            each.event_type,
            each.status,
            each.url,
            str(each.attempt_count),
            each.instance_id,
            when(each.created_at),
        )
        for each in deliveries
    )
    return table(_COLUMNS, rows)


def _facts(delivery: DeliveryInfo) -> Iterator[tuple[str, str | None]]:
    yield "id", delivery.id
    yield "event", f"{delivery.event_type} {delivery.event_id}"
    yield "instance", delivery.instance_id
    yield "url", delivery.url
    yield "status", delivery.status
    yield "created", when(delivery.created_at)
    yield "next attempt", when(delivery.next_attempt_at)
    yield "finished", when(delivery.finished_at)
    for attempt in delivery.attempts:
        yield f"attempt {attempt.number}", _attempt_text(attempt)


def _attempt_text(attempt: DeliveryAttemptInfo) -> str:
    outcome = attempt.error or f"HTTP {attempt.response_status}"
    seconds = f" in {attempt.duration.total_seconds():.2f} s" if attempt.duration else ""
    answer = f": {attempt.answer}" if attempt.answer else ""
    return f"{when(attempt.at)} {outcome}{seconds}{answer}"
