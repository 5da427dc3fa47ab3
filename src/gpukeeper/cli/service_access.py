"""How commands reach the service: its address, the key, and what tests put in their place."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gpukeeper import text_encoding
from gpukeeper.cli.profiles import Profile, read_profile
from gpukeeper.cli.terminal.output import clean
from gpukeeper.client import AmbiguousName, Client
from gpukeeper.client.problems import InvalidArgument, UnusableEnvironment, UnusableKey

DEFAULT_URL = "http://127.0.0.1:8080"

# The argument of every command about one instance.
InstanceId = Annotated[
    str,
    typer.Argument(metavar="ID", help="Its name, its id or the end that 'ls' shows, Novita's id."),
]


@dataclass(frozen=True, slots=True)
class Access:
    """The way to the service, and the time; without an address a profile tells the way.

    ``has_named_profile`` says that the profile was named on the command line.  ``connect`` takes
    an address and a key; ``clock`` tells seconds from any beginning, ``now`` the time of day.
    """

    url: str | None = None
    profile: str | None = None
    has_named_profile: bool = False
    api_key_file: Path | None = None
    connect: Callable[[str, str | None], Client] = Client
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


def get_access(ctx: typer.Context) -> Access:
    """Return what the program was started with."""
    access = ctx.obj
    assert isinstance(access, Access)
    return access


def open_client(ctx: typer.Context) -> Client:
    """Return a client of the service that the options and the environment name."""
    access = get_access(ctx)
    # A profile's key is for the profile's address: none of it is used with another one.
    profile = Profile() if access.url else read_profile(access.profile)
    key = _api_key(access, profile)
    try:
        return access.connect(access.url or profile.url or DEFAULT_URL, key)
    except UnusableKey as error:
        raise typer.BadParameter(error.message, param_hint="GPUKEEPER_API_KEY") from error
    except UnusableEnvironment as error:
        said = "; ".join(error.faults.values())
        raise typer.BadParameter(f"{said}.", param_hint=", ".join(error.faults)) from error
    except InvalidArgument as error:
        hint = "--url or GPUKEEPER_URL" if access.url else "url of the profile"
        raise typer.BadParameter(error.message, param_hint=hint) from error


def find_instance(client: Client, given: str) -> str:
    """Return the id of the one instance that is meant (:meth:`Client.find_id`).

    A name that several have is a usage error: any choice between them may delete the wrong one.
    """
    try:
        return client.find_id(given)
    except AmbiguousName as error:
        raise typer.BadParameter(clean(error.message), param_hint="ID") from error


def read_secret(path: Path, hint: str) -> str:
    """Return the secret in a file that was named by the option or setting ``hint``."""
    try:
        return text_encoding.decode(path.read_bytes()).strip()
    except OSError as error:
        raise typer.BadParameter(f"{error.strerror}: {path}", param_hint=hint) from error
    except ValueError as error:
        raise typer.BadParameter(f"{path} cannot be used: {error}.", param_hint=hint) from error


def _api_key(access: Access, profile: Profile) -> str | None:
    """Return the key; it is never an option, since everyone on a machine can read those.

    A profile's own key goes to its service.  The environment's may be meant for another one, so it
    is never sent to the service of a profile that was named.
    """
    if access.api_key_file is not None:
        return read_secret(access.api_key_file, "--api-key-file")
    if profile.api_key_file is not None:
        return read_secret(profile.api_key_file, "api_key_file")
    if profile.api_key or access.has_named_profile:
        return profile.api_key
    return os.environ.get("GPUKEEPER_API_KEY", "").strip() or None
