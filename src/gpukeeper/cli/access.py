"""How commands reach the service: its address, the key, and what tests put in their place."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from gpukeeper.client import Client

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Access:
    """The way to the service, and the time.

    ``connect`` takes an address and a key; ``clock`` tells seconds from any beginning.
    """

    url: str = DEFAULT_URL
    api_key_file: Path | None = None
    connect: Callable[[str, str | None], Client] = Client
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def access_of(ctx: typer.Context) -> Access:
    """Return what the program was started with."""
    access = ctx.obj
    assert isinstance(access, Access)
    return access


def open_client(ctx: typer.Context) -> Client:
    """Return a client of the service that the options and the environment name."""
    access = access_of(ctx)
    try:
        return access.connect(access.url, _api_key(access))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--url, GPUKEEPER_API_KEY") from error


def _api_key(access: Access) -> str | None:
    """Return the key; it is never an option, since everyone on a machine can read those."""
    if access.api_key_file is None:
        return os.environ.get("GPUKEEPER_API_KEY", "").strip() or None
    try:
        return access.api_key_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise typer.BadParameter(
            f"{error.strerror}: {access.api_key_file}", param_hint="--api-key-file"
        ) from error
