"""The commands for those who receive webhooks: a test, a receiver to watch, and the secret."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpukeeper.cli.access import open_client
from gpukeeper.cli.deliveries import as_table
from gpukeeper.cli.output import Format, Output, note, show

if TYPE_CHECKING:
    from pydantic import SecretStr

DataDir = Annotated[
    Path, typer.Option(envvar="GPUKEEPER_DATA_DIR", help="The service's data directory.")
]

_SECRET_BYTES = 32
_SECRET_VARIABLE = "GPUKEEPER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Test, receive and verify webhooks.", no_args_is_help=True)
    group.command("test")(send_test)
    group.command()(listen)
    group.command("secret")(print_secret)
    app.add_typer(group, name="webhooks")


def send_test(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Have the service send a `webhook.test` event to GPUKEEPER_WEBHOOK_URL."""
    with open_client(ctx) as client:
        page = client.send_test()
    show(output, page.raw, lambda: as_table(page.items))


def listen(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any.")] = 9091,
    secret: Annotated[
        str | None,
        typer.Option(
            envvar=_SECRET_VARIABLE,
            show_envvar=True,
            help="What webhooks are signed with; read from the data directory unless given.",
        ),
    ] = None,
    data_dir: DataDir = Path("data"),
    output: Output = Format.TABLE,
) -> None:
    """Receive webhooks on this machine.

    Each is verified and shown on a line.
    """
    from gpukeeper.cli import listen as receiver
    from gpukeeper.ports import cannot_listen

    write = receiver.format_json if output is Format.JSON else receiver.format_line
    app = receiver.build_receiver(
        secrets=_known_secrets(secret, data_dir),
        clock=lambda: datetime.now(UTC),
        on_event=lambda event: print(write(event), flush=True),
        on_refused=lambda message: note(f"Refused: {message}"),
    )
    try:
        receiver.run_receiver(
            app, host=host, port=port, on_listening=lambda url: note(f"Listening on {url}")
        )
    except OSError as error:
        raise cannot_listen(host, port, error, setting="--port") from error


def print_secret(
    new: Annotated[
        bool, typer.Option("--new", help="Make another one, as is needed to rotate.")
    ] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Print the secret to verify webhooks with.

    It is the one that the service keeps, or a fresh one if there is none.
    """
    from gpukeeper.webhooks.signing import new_secret

    known = None if new else _kept_secret(data_dir)
    if known is not None:
        print(known)
        return
    print(new_secret(secrets.token_bytes(_SECRET_BYTES)))
    note(f"This one is new and kept nowhere: put it into {_SECRET_VARIABLE}.")


def _known_secrets(given: str | None, data_dir: Path) -> "tuple[SecretStr, ...]":
    from gpukeeper.config import parsing

    text = given or _kept_secret(data_dir)
    if text is None:
        raise typer.BadParameter(
            f"There is no secret in '{data_dir}': give {_SECRET_VARIABLE} or --data-dir.",
            param_hint="--secret",
        )
    try:
        return parsing.webhook_secrets(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--secret") from error


def _kept_secret(data_dir: Path) -> str | None:
    """Return the secret that the service generated, or None when it has not done so."""
    from gpukeeper.config.data_dir import WEBHOOK_SECRET_FILE

    path = data_dir / WEBHOOK_SECRET_FILE
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"'{path}' cannot be read.", param_hint="--data-dir") from error
