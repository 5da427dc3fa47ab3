"""The commands for machines that carry our mark and that the store does not know."""

from typing import Annotated

import typer

from gpukeeper.cli.access import open_client
from gpukeeper.cli.instance_tables import as_table
from gpukeeper.cli.output import Format, Output, confirm, note, show, table, when
from gpukeeper.domain.events import format_money

NovitaId = Annotated[str, typer.Argument(metavar="NOVITA-ID", help="Novita's id.")]

_COLUMNS = ("NOVITA ID", "NAME", "AT NOVITA", "PRODUCT", "REGION", "USD/H", "FIRST SEEN")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        help=(
            "Find machines that nobody here knows.\n\n"
            "They are at Novita and carry our mark: take them in, or delete them."
        ),
        no_args_is_help=True,
    )
    group.command("ls")(list_orphans)
    group.command()(adopt)
    group.command("delete")(delete_orphan)
    app.add_typer(group, name="orphans")


def list_orphans(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """List orphans."""
    with open_client(ctx) as client:
        page = client.orphans()
    rows = (
        (
            each.novita_id,
            each.name,
            each.novita_status,
            each.product_name,
            each.region,
            format_money(each.price_per_hour),
            when(each.first_seen_at),
        )
        for each in page.items
    )
    show(output, page.raw, lambda: table(_COLUMNS, rows))


def adopt(ctx: typer.Context, novita_id: NovitaId, output: Output = Format.TABLE) -> None:
    """Take an orphan in as an instance."""
    with open_client(ctx) as client:
        instance = client.adopt(novita_id)
    show(output, instance.raw, lambda: as_table([instance]))


def delete_orphan(
    ctx: typer.Context,
    novita_id: NovitaId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an orphan at Novita, with its disk."""
    confirm(lambda: f"Delete {novita_id} at Novita, and its disk?", is_sure=yes)
    with open_client(ctx) as client:
        client.delete_orphan(novita_id)
    note(f"Deleted {novita_id}.")
