"""The commands that run the service itself, check its settings and prepare its database."""

import secrets
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.terminal.output import ask_to_confirm, clean, note


class Role(StrEnum):
    """What one process of the service does."""

    ALL = "all"
    API = "api"
    ENGINE = "engine"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(serve)
    app.command()(check)
    app.command()(migrate)
    app.command()(backup)
    app.command()(simulate)


def serve(
    role: Annotated[
        Role, typer.Option(help="Split the API from the engine, or run both in one process.")
    ] = Role.ALL,
) -> None:
    """Run the service: the API and the engine."""
    from gpukeeper import config, process, runtime

    raise typer.Exit(process.serve(config.load(), role=runtime.Role(role.value)))


def check() -> None:
    """Check the settings, the database and the Novita key.

    Changes nothing, here or at Novita.
    """
    from gpukeeper import config, process

    results = process.check(config.load())
    for result in results:
        print(clean(f"{'✓' if result.is_ok else '✗'} {result.name}: {result.message}"))
    failed = {result.name for result in results if not result.is_ok}
    if failed:
        # Novita may come back; what else is wrong would keep the service from starting.
        raise typer.Exit(
            exit_status.FAILED if failed == {"novita"} else exit_status.BAD_CONFIGURATION
        )


def migrate(
    rebind: Annotated[
        bool,
        typer.Option(
            "--rebind",
            help="Have the database belong to NOVITA_BASE_URL and NOVITA_API_KEY from now on, "
            "whatever account it belonged to; says what that means, and asks.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring the database to this version.

    Prints the revision of its schema.
    """
    from gpukeeper import config, process
    from gpukeeper.runtime import maintenance

    def confirm(sentences: str) -> None:
        for sentence in sentences.splitlines():
            note(sentence)
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("asks first: say --yes as well", param_hint="--rebind")
            ask_to_confirm("Bind the store to the new account?")

    if rebind:
        print(maintenance.rebind(config.load(), confirm))
    else:
        print(process.migrate(config.load()))


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist yet.")],
) -> None:
    """Copy the database into FILE, while the service runs.

    FILE, such as "gpukeeper-$(date +%F).db", can be read by its owner only. PostgreSQL has tools
    of its own: use pg_dump.
    """
    from gpukeeper import config, process
    from gpukeeper.store.db.database import StoreError

    # A backup is made by whoever may read the files, with no need of what pays for machines.
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


def simulate(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any.")] = 9090,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same draws and ids; else each start has others."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Boot machines within seconds.")] = False,
    speed: Annotated[float, typer.Option(min=0.001, help="Simulated seconds per second.")] = 1.0,
) -> None:
    """Run a local Novita for tests and demos.

    It sells simulated machines: no key, no money.
    """
    from gpukeeper.port_check import build_listen_error, format_url, open_ports
    from gpukeeper.simulator.admin import admin_route
    from gpukeeper.simulator.novita_api import simulator_server
    from gpukeeper.simulator.simulator_settings import Settings

    sockets = open_ports(host, port, setting="--port")
    behaviour = Settings.fast() if fast else Settings()
    # A service keeps what it bought; a new world must not sell it the same ids again.
    drawn = secrets.randbits(32) if seed is None else seed
    settings = replace(behaviour, seed=drawn, clock_speed=speed)
    url = format_url(sockets[0])
    note(f"Novita, simulated, on {url} (--seed {drawn})")
    note(f"  NOVITA_BASE_URL={url} NOVITA_API_KEY=simulated gpukeeper serve")
    note(f"  curl -H 'Authorization: Bearer any' {url}/gpu-instance/openapi/v1/products")
    note(f"  curl {url}{admin_route.PREFIX}    (what can be scripted)")
    try:
        simulator_server.serve(sockets, settings)
    except OSError as error:
        # Somebody began to listen there a moment ago.
        raise build_listen_error(host, port, error, setting="--port") from error
