"""The commands that copy the database, and put a copy back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.terminal.output import note


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")],
) -> None:
    """Copy the database into FILE, while the service runs.

    FILE, such as "gpukeeper-$(date +%F).db", can be read by its owner only. PostgreSQL has tools
    of its own: use pg_dump.
    """
    from gpukeeper import config, process
    from gpukeeper.store.db.database import StoreError

    # A backup is made by a user who may read the files, with no need of what pays for machines.
    settings = config.load(asks_novita=False)
    try:
        size = process.backup(settings, file)
    except FileExistsError as error:
        raise typer.BadParameter(f"'{file}' exists already.", param_hint="FILE") from error
    except OSError as error:
        raise typer.BadParameter(f"{error.strerror}: '{file}'", param_hint="FILE") from error
    except StoreError as error:
        note(f"Error: {error}.")
        raise typer.Exit(exit_status.FAILED) from error
    note(f"Written: {file} ({size / 1_000_000:.1f} MB).")
    note(
        f"Keep the secrets in {settings.data_dir} as well: without them it cannot be read in full."
    )


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
