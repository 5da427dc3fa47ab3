"""The program ``gpukeeper``: its commands, its options, and how it ends."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gpukeeper import __version__
from gpukeeper.cli import exit_status
from gpukeeper.cli.command_group import CommandGroup
from gpukeeper.cli.commands import (
    backups,
    daemon,
    deliveries,
    events,
    instances,
    offers,
    orders,
    orphans,
    webhooks,
)
from gpukeeper.cli.service_access import DEFAULT_URL, Access
from gpukeeper.domain.errors import GpuKeeperError

app = typer.Typer(
    name="gpukeeper",
    cls=CommandGroup,
    help=(
        "Order, start, watch and announce GPU instances at Novita.ai.\n\n"
        "Data goes to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 usage, "
        "3 timed out waiting, 4 nothing for sale, 5 service unreachable, 6 refused (key, balance, "
        "quota), 78 bad configuration."
    ),
    no_args_is_help=True,
    # Plain text reads the same on a terminal, in a log and in the docs.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# In the order of the help; a command of a group has the group's name before its own.
_COMMANDS: Mapping[str, Callable[..., None]] = {
    "serve": daemon.serve,
    "check": daemon.check,
    "migrate": daemon.migrate,
    "backup": backups.backup,
    "simulate": daemon.simulate,
    "up": orders.up,
    "ls": instances.list_instances,
    "show": instances.show_instance,
    "start": instances.start,
    "stop": instances.stop,
    "restart": instances.restart,
    "rm": instances.delete,
    "wait": instances.wait,
    "ssh": instances.ssh,
    "events": events.events,
    "offers": offers.offers,
    "deliveries ls": deliveries.list_deliveries,
    "deliveries show": deliveries.show_delivery,
    "deliveries redeliver": deliveries.redeliver,
    "webhooks test": webhooks.send_test,
    "webhooks listen": webhooks.listen,
    "webhooks secret": webhooks.print_secret,
    "orphans ls": orphans.list_orphans,
    "orphans adopt": orphans.adopt,
    "orphans delete": orphans.delete_orphan,
    "restore": backups.restore,
}
_GROUPS = {
    "deliveries": "Show and repeat webhook deliveries.",
    "webhooks": "Test, receive and verify webhooks.",
    "orphans": "Find machines that nobody here knows.\n\n"
    "They are at Novita and carry our mark, or that of an older store: take them in, or "
    "delete them.",
}

_groups = {
    name: typer.Typer(cls=CommandGroup, help=text, no_args_is_help=True)
    for name, text in _GROUPS.items()
}
for _words, _command in _COMMANDS.items():
    _group, _, _name = _words.rpartition(" ")
    _groups.get(_group, app).command(_name)(_command)
for _name, _typer in _groups.items():
    app.add_typer(_typer, name=_name)


def main(arguments: Sequence[str] | None = None, *, access: Access | None = None) -> NoReturn:
    """Run the program with these arguments, or the process's, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A locale without a character must not end a command halfway.
            stream.reconfigure(errors="replace")
    try:
        app(args=arguments, prog_name="gpukeeper", obj=access)
    except GpuKeeperError as error:
        sys.exit(exit_status.report_error(error))
    sys.exit(0)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    ctx: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="GPUKEEPER_URL",
            help=f"Where the service is; {DEFAULT_URL} unless given.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            envvar="GPUKEEPER_PROFILE",
            help="Which table of ~/.config/gpukeeper/config.toml says where the service is, and "
            "the key; 'default' unless given. Named here, it counts more than GPUKEEPER_URL and "
            "GPUKEEPER_API_KEY.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            help="A file with the service's API key; otherwise GPUKEEPER_API_KEY is used.",
        ),
    ] = None,
    is_version_wanted: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    has_named_profile = _is_on_command_line(ctx, "profile") and not _is_on_command_line(ctx, "url")
    ctx.obj = replace(
        ctx.obj or Access(),
        url=None if has_named_profile else url,
        profile=profile,
        has_named_profile=has_named_profile,
        api_key_file=api_key_file,
    )


def _is_on_command_line(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
