"""The commands for receivers of webhooks: a test, a receiver to watch, and the secret."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpukeeper import text_encoding
from gpukeeper.cli import exit_status
from gpukeeper.cli.commands.deliveries import format_deliveries
from gpukeeper.cli.service_access import get_access, open_client, read_secret
from gpukeeper.cli.terminal.output import Format, Output, note, show

if TYPE_CHECKING:
    from pydantic import SecretStr

DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="GPUKEEPER_DATA_DIR",
        help="The service's data directory.",
        show_default="as the service finds it",
    ),
]

_SECRET_BYTES = 32

# How soon a service that has just started is noticed.
_LOOK_EVERY_SECONDS = 0.5

# A receiver that listens there is reached under another name.
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - names of it only

_SECRET_VARIABLE = "GPUKEEPER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def send_test(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Have the service send a `webhook.test` event to GPUKEEPER_WEBHOOK_URL."""
    with open_client(ctx) as client:
        page = client.send_test()
    show(output, page.raw, lambda: format_deliveries(page.items, now=get_access(ctx).now()))


def listen(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any.")] = 9091,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar=_SECRET_VARIABLE,
            show_envvar=True,
            help="What webhooks are signed with; found as the service does unless given. Everyone "
            "on this machine can read it here: give --secret-file or the variable instead.",
        ),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with what webhooks are signed with.")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Receive webhooks on this machine.

    Each is verified and shown on a line.
    """
    from gpukeeper.cli import webhook_receiver
    from gpukeeper.port_check import build_listen_error

    directory = _find_data_dir(data_dir)
    if secret_file is not None:
        verified_with, text = f"'{secret_file}'", read_secret(secret_file, "--secret-file")
    else:
        verified_with, text = _await_secret(secret, directory, sleep=get_access(ctx).sleep)
    write = webhook_receiver.format_json if output is Format.JSON else webhook_receiver.format_line
    app = webhook_receiver.build_receiver(
        secrets=_parse_secrets(text),
        clock=lambda: datetime.now(UTC),
        on_event=lambda event: print(write(event), flush=True),
        on_refused=lambda message: note(f"Refused: {message}"),
    )

    def greet(url: str) -> None:
        note(f"Listening on {url}; signatures are verified with the secret of {verified_with}.")
        if host not in _EVERY_ADDRESS:
            note(f"The service sends here with GPUKEEPER_WEBHOOK_URL={url}/")

    try:
        webhook_receiver.run_receiver(app, host=host, port=port, on_listening=greet)
    except OSError as error:
        raise build_listen_error(host, port, error, setting="--port") from error


def print_secret(
    new: Annotated[
        bool, typer.Option("--new", help="Make another one, as is needed to rotate.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the secret to verify webhooks with.

    It is the one that the service signs with: run this where the service runs.
    """
    from gpukeeper.webhooks.signing import new_secret

    if new:
        print(new_secret(secrets.token_bytes(_SECRET_BYTES)))
        note(f"This one is new and kept nowhere: put it into {_SECRET_VARIABLE}.")
        return
    directory = _find_data_dir(data_dir)
    in_use = _find_secret(None, directory)
    if in_use is None:
        note(f"Error: {_describe_missing(directory)}")
        raise typer.Exit(exit_status.FAILED)
    # While two are set, every webhook is signed with both.
    print(in_use[1].partition(",")[0].strip())


def _find_data_dir(given: Path | None) -> Path:
    from gpukeeper import config
    from gpukeeper.config import parsers

    try:
        return parsers.directory(str(given or config.value_of("GPUKEEPER_DATA_DIR") or "data"))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--data-dir") from error


def _find_secret(given: str | None, directory: Path) -> tuple[str, str] | None:
    """Return where the service has its secret from, and the secret; None when there is none."""
    from gpukeeper import config

    text = given or config.value_of(_SECRET_VARIABLE)
    if text is not None:
        return _SECRET_VARIABLE, text
    kept = _read_generated_secret(directory)
    return None if kept is None else (f"'{directory}'", kept)


def _await_secret(
    given: str | None, directory: Path, *, sleep: Callable[[float], None]
) -> tuple[str, str]:
    """Return the secret in use, after waiting for the service's first start if there is none."""
    is_told = False
    while (in_use := _find_secret(given, directory)) is None:
        if not is_told:
            note(f"Waiting: {_describe_missing(directory)}")
            is_told = True
        sleep(_LOOK_EVERY_SECONDS)
    return in_use


def _describe_missing(directory: Path) -> str:
    return (
        f"there is no webhook secret in '{directory}'. The service makes one when it starts: run "
        f"this where it runs, or say where with --data-dir or {_SECRET_VARIABLE}."
    )


def _parse_secrets(text: str) -> "tuple[SecretStr, ...]":
    from gpukeeper.config import parsers

    try:
        return parsers.webhook_secrets(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from error


def _read_generated_secret(data_dir: Path) -> str | None:
    """Return the secret that the service generated, or None when it has not done so."""
    from gpukeeper.config.data_dir import WEBHOOK_SECRET_FILE

    path = data_dir / WEBHOOK_SECRET_FILE
    try:
        return text_encoding.decode(path.read_bytes()).strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"'{path}' cannot be read.", param_hint="--data-dir") from error
