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

from gpukeeper.cli.output import note

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
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        if name is None:
            return Profile()
        raise _fault(path, f"is missing, so there is no profile '{name}'") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _fault(path, f"cannot be read: {error}") from error
    table = tables.get(name or DEFAULT_PROFILE, None if name else {})
    if not isinstance(table, dict):
        known = ", ".join(each for each, value in tables.items() if isinstance(value, dict))
        raise _fault(path, f"has no profile '{name or DEFAULT_PROFILE}', but {known or 'none'}")
    profile = _profile(path, table)
    if profile.api_key and mode & _OPEN_TO_OTHERS:
        note(f"Warning: others may read the key in {path}: chmod 600 {path}")
    return profile


def config_path() -> Path:
    """Return where the file is."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "gpukeeper" / "config.toml"


def _profile(path: Path, table: dict[str, Any]) -> Profile:
    unknown = sorted(table.keys() - _KEYS)
    wrong = sorted(key for key in table.keys() & _KEYS if not isinstance(table[key], str))
    if unknown or wrong:
        raise _fault(path, f"has {', '.join(unknown or wrong)}, which is not understood")
    key_file = table.get("api_key_file")
    return Profile(
        url=table.get("url"),
        api_key=table.get("api_key"),
        # As the file's neighbours are meant, wherever the command runs.
        api_key_file=path.parent / Path(key_file).expanduser() if key_file else None,
    )


def _fault(path: Path, text: str) -> typer.BadParameter:
    return typer.BadParameter(f"{path} {text}.", param_hint="--profile")
