"""The commands for machines that may be ours and that the store does not know."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.command_group import CommandGroup
from gpukeeper.cli.service_access import get_access, open_client
from gpukeeper.cli.terminal import wait_progress
from gpukeeper.cli.terminal.instance_tables import cost_text, format_instances
from gpukeeper.cli.terminal.output import (
    Format,
    Output,
    check_consent,
    confirm,
    hourly,
    note,
    show,
    when,
)
from gpukeeper.cli.terminal.text_tables import Column, table
from gpukeeper.client import ApiProblem
from gpukeeper.domain.instances import Status

NovitaId = Annotated[str, typer.Argument(metavar="NOVITA-ID", help="Novita's id.")]

_COLUMNS = (
    Column("NOVITA ID"),
    Column("NAME", rank=2, narrowest=9),
    Column("MARK", rank=6),
    Column("AT NOVITA"),
    Column("PRODUCT", rank=3, narrowest=13),
    Column("REGION", rank=4),
    Column("USD/H", rank=2, is_right=True),
    Column("COSTS NOW", rank=1),
    Column("FIRST SEEN", rank=5),
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        cls=CommandGroup,
        help=(
            "Find machines that nobody here knows.\n\n"
            "They are at Novita and carry our mark, or that of an older store: take them in, or "
            "delete them."
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
            "another" if each.is_foreign else "ours",
            each.novita_status,
            each.product_name,
            each.region,
            hourly(each.price_per_hour),
            cost_text(each.gpu_usd_per_hour, each.disk_usd_per_hour),
            when(each.first_seen_at),
        )
        for each in page.items
    )
    show(output, page.raw, lambda: table(_COLUMNS, rows))


def adopt(
    ctx: typer.Context,
    novita_id: NovitaId,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Also a machine that does not carry our mark.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Take an orphan in as an instance."""
    with open_client(ctx) as client, _among_orphans():
        instance = client.adopt(novita_id, foreign=foreign)
    show(output, instance.raw, lambda: format_instances([instance], now=get_access(ctx).now()))


def delete_orphan(
    ctx: typer.Context,
    novita_id: NovitaId,
    yes: wait_progress.Yes = False,
    wait: wait_progress.WaitForDeletion = False,
    timeout: wait_progress.DeletionTimeout = wait_progress.DELETION_SECONDS,
    output: Output = Format.TABLE,
) -> None:
    """Delete an orphan at Novita, with its disk.

    Without a terminal to ask at, --yes is needed.
    """
    check_consent(is_sure=yes)
    confirm(lambda: f"Delete {novita_id} at Novita, and its disk?", is_sure=yes)
    with open_client(ctx) as client:
        with _among_orphans():
            deleted = client.delete_orphan(novita_id)
        if not wait:
            show(
                output, deleted.raw, lambda: format_instances([deleted], now=get_access(ctx).now())
            )
            note(f"Deleting {novita_id}; it is gone when 'gpukeeper show {deleted.id}' says so.")
            return
        wait_progress.wait_and_show(
            ctx,
            client,
            deleted.id,
            until=Status.DELETED,
            timeout=timedelta(seconds=timeout),
            output=output,
        )


@contextmanager
def _among_orphans() -> Iterator[None]:
    """Send those who name no orphan to the list of orphans, not to that of instances."""
    try:
        yield
    except ApiProblem as error:
        if error.error_code != "instance_not_found":
            raise
        advice = "'gpukeeper orphans ls' shows what there is."
        raise typer.Exit(exit_status.report_error(error, advice=advice)) from error
