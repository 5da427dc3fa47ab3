"""The command that puts a backup back, and says when a restored store may take orders."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.terminal.output import note


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(restore)


def restore(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="The backup; secrets that lie beside it are put back too. '-' reads a tar archive "
            "of backup and secrets.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also in the place of a store that holds instances.")
    ] = False,
    mark: Annotated[
        bool, typer.Option("--mark", help="Say that the database was restored by another tool.")
    ] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="Have a restored store take orders at once.")
    ] = False,
) -> None:
    """Put a backup of the database back.

    The service must be stopped. What was there is kept under another name. A restored store takes
    no orders until it has looked at Novita twice, so that nothing is bought again. PostgreSQL has
    tools of its own: use pg_restore, then --mark.
    """
    from gpukeeper import config
    from gpukeeper.runtime import maintenance
    from gpukeeper.runtime.restore import NotRestored
    from gpukeeper.runtime.restore import restore as put_back

    if (file is not None) + mark + lift != 1:
        raise typer.BadParameter("give FILE, --mark or --lift, and one of them only")
    settings = config.load(asks_novita=False)
    if mark:
        maintenance.note_restored(settings)
        note("Marked: no order is taken until two complete looks at Novita are done.")
    if lift:
        maintenance.lift_restored(settings)
        note("Lifted: orders are taken.")
    if file is None:
        return
    source = sys.stdin.buffer if str(file) == "-" else file
    try:
        put_back(settings, source, note, may_replace=replace)
    except NotRestored as error:
        note(f"Error: {error}")
        raise typer.Exit(exit_status.FAILED) from error
    except OSError as error:
        message = f"{error.strerror}: '{error.filename or file}'"
        if isinstance(error, PermissionError) and error.filename:
            message += config.file_owner.explain_owner(Path(error.filename))
        raise typer.BadParameter(message, param_hint="FILE") from error
    note("Start the service: it takes orders again after two complete looks at Novita.")
