"""The commands that run the service itself, check its settings and prepare its database."""

import secrets
import sys
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import typer

from gpukeeper.cli import exit_status
from gpukeeper.cli.terminal.output import clean, note
from gpukeeper.cli.terminal.prompts import confirm


class Role(StrEnum):
    """What one process of the service does."""

    ALL = "all"
    API = "api"
    ENGINE = "engine"


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

    def agree(sentences: str) -> None:
        for sentence in sentences.splitlines():
            note(sentence)
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("asks first: say --yes as well", param_hint="--rebind")
            confirm("Bind the store to the new account?")

    if rebind:
        print(maintenance.rebind(config.load(), agree))
    else:
        print(process.migrate(config.load()))


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
        # Another program began to listen there a moment ago.
        raise build_listen_error(host, port, error, setting="--port") from error
