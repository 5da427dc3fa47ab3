"""Profiles: the addresses and keys of services, in a file of the user's own.

The file is ``$XDG_CONFIG_HOME/gpukeeper/config.toml``, by default ``~/.config/gpukeeper/…``, and
has a table for each profile: ``[default]`` with ``url`` and ``api_key`` or ``api_key_file``.
"""

import os
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from gpukeeper import text_encoding
from gpukeeper.cli.terminal.output import note

DEFAULT_PROFILE = "default"

_KEYS = frozenset({"url", "api_key", "api_key_file"})
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Profile:
    """One service; what the file does not say is None."""

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_key_file: Path | None = None


def read_profile(name: str | None) -> Profile:
    """Return the profile of this name, or the default one if there is any.

    Raises a usage error that names the file, when it cannot be used or has no such profile.
    """
    path = config_path()
    if path is None:
        if name is None:
            return Profile()
        text = f"There is no home directory, and so no profile '{name}': set XDG_CONFIG_HOME."
        raise typer.BadParameter(text, param_hint="--profile")
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables = tomllib.loads(text_encoding.decode(file.read()))
    except (FileNotFoundError, NotADirectoryError) as error:
        if name is None:
            return Profile()
        raise _fault(path, f"is missing, so there is no profile '{name}'") from error
    except (OSError, ValueError) as error:
        raise _fault(path, f"cannot be read: {error}") from error
    table = tables.get(name or DEFAULT_PROFILE, None if name else {})
    if not isinstance(table, dict):
        known = ", ".join(each for each, value in tables.items() if isinstance(value, dict))
        raise _fault(path, f"has no profile '{name or DEFAULT_PROFILE}', but {known or 'none'}")
    profile = _build_profile(path, table)
    if profile.api_key and mode & _OPEN_TO_OTHERS:
        note(f"Warning: others may read the key in {path}: chmod 600 {path}")
    return profile


def config_path() -> Path | None:
    """Return where the file is, or None for a user that has no home."""
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".config"
    except RuntimeError:
        return None
    return folder / "gpukeeper" / "config.toml"


def _build_profile(path: Path, table: dict[str, Any]) -> Profile:
    unknown = sorted(table.keys() - _KEYS)
    wrong = sorted(key for key in table.keys() & _KEYS if not isinstance(table[key], str))
    if unknown or wrong:
        raise _fault(path, f"has {', '.join(unknown or wrong)}, which is not understood")
    key_file = table.get("api_key_file")
    return Profile(
        url=table.get("url"),
        api_key=table.get("api_key"),
        # As the file's neighbours are meant, wherever the command runs.
        api_key_file=_locate_key_file(path, key_file) if key_file else None,
    )


def _locate_key_file(path: Path, key_file: str) -> Path:
    try:
        return path.parent / Path(key_file).expanduser()
    except RuntimeError as error:
        text = "names an api_key_file in a home directory that there is not"
        raise _fault(path, text) from error


def _fault(path: Path, text: str) -> typer.BadParameter:
    return typer.BadParameter(f"{path} {text}.", param_hint="--profile")
