"""The commands for machines that may be ours and that the store does not know."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.service_access import open_client
from gpukeeper.cli.terminal.instance_tables import cost_text, show_row
from gpukeeper.cli.terminal.output import Format, Output, format_price, format_time, note, show
from gpukeeper.cli.terminal.prompts import check_consent, confirm
from gpukeeper.cli.terminal.text_tables import Column, format_table
from gpukeeper.cli.terminal.wait_progress import (
    DELETION_SECONDS,
    DeletionTimeout,
    WaitForDeletion,
    Yes,
    wait_and_show,
)
from gpukeeper.client import ApiProblem, OrphanInfo
from gpukeeper.domain.instances import Status

NovitaId = Annotated[str, typer.Argument(metavar="NOVITA-ID", help="Novita's id.")]

_COLUMNS: tuple[Column[OrphanInfo], ...] = (
    Column("NOVITA ID", lambda each: each.novita_id),
    Column("NAME", lambda each: each.name, rank=2, narrowest=9),
    Column("MARK", lambda each: "another" if each.is_foreign else "ours", rank=6),
    Column("AT NOVITA", lambda each: each.novita_status),
    Column("PRODUCT", lambda each: each.product_name, rank=3, narrowest=13),
    Column("REGION", lambda each: each.region, rank=4),
    Column("USD/H", lambda each: format_price(each.price_per_hour), rank=2, is_right=True),
    Column(
        "COSTS NOW",
        lambda each: cost_text(each.gpu_usd_per_hour, each.disk_usd_per_hour),
        rank=1,
    ),
    Column("FIRST SEEN", lambda each: format_time(each.first_seen_at), rank=5),
)


def list_orphans(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """List orphans."""
    with open_client(ctx) as client:
        page = client.orphans()
    show(output, page.raw, lambda: format_table(_COLUMNS, page.items))


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
    show_row(ctx, instance, output)


def delete_orphan(
    ctx: typer.Context,
    novita_id: NovitaId,
    yes: Yes = False,
    wait: WaitForDeletion = False,
    timeout: DeletionTimeout = DELETION_SECONDS,
    output: Output = Format.TABLE,
) -> None:
    """Delete an orphan at Novita, with its disk.

    Without a terminal to ask at, --yes is needed.
    """
    check_consent(is_sure=yes)
    if not yes:
        confirm(f"Delete {novita_id} at Novita, and its disk?")
    with open_client(ctx) as client:
        with _among_orphans():
            deleted = client.delete_orphan(novita_id)
        if wait:
            wait_and_show(
                ctx, client, deleted.id, until=Status.DELETED, seconds=timeout, output=output
            )
            return
    show_row(ctx, deleted, output)
    note(f"Deleting {novita_id}; it is gone when 'gpukeeper show {deleted.id}' says so.")


@contextmanager
def _among_orphans() -> Iterator[None]:
    """Advise a look at the list of orphans, not at that of instances."""
    try:
        yield
    except ApiProblem as error:
        if error.error_code != "instance_not_found":
            raise
        advice = "'gpukeeper orphans ls' shows what there is."
        raise typer.Exit(exit_status.report_error(error, advice=advice)) from error
