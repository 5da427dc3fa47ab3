"""The locks of a SQLite store: one engine works on it at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpukeeper.config import Settings, file_owner
from gpukeeper.domain.errors import Fault, InvalidConfiguration

_LOCK_FILE = "engine.lock"


@contextmanager
def lock_engine(settings: Settings, *, has_engine: bool) -> Iterator[None]:
    """Hold the locks of an engine while it runs: a SQLite store has one.

    Both are needed: another engine may have its data elsewhere and name the same database.
    """
    if not has_engine or settings.postgres_url is not None:
        yield
        return
    database = settings.database_path.resolve()
    lock_of_database = database.with_name(f"{database.name}.lock")
    with (
        _locked(settings.data_dir / _LOCK_FILE, "GPUKEEPER_DATA_DIR", settings.data_dir),
        _locked(lock_of_database, "GPUKEEPER_DATABASE_URL", settings.database_path),
    ):
        yield


@contextmanager
def _locked(path: Path, variable: str, guarded: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        message = f"{guarded} cannot be locked: {error.strerror}{file_owner.explain_owner(path)}"
        raise InvalidConfiguration([Fault(variable, message)]) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another gpukeeper runs on {guarded}: stop it, or name another"
            raise InvalidConfiguration([Fault(variable, message)]) from error
        except OSError as error:
            raise _without_locks(guarded, variable, error) from error
        yield
    finally:
        os.close(descriptor)


def _without_locks(guarded: Path, variable: str, error: OSError) -> InvalidConfiguration:
    message = f"{guarded} cannot be locked ({error.strerror}): name a place on a local disk"
    return InvalidConfiguration([Fault(variable, message)])


def check_locks(settings: Settings) -> None:
    """Raise InvalidConfiguration where an engine could not lock its store; creates no file."""
    if settings.postgres_url is not None:
        return
    for variable, guarded, folder in (
        ("GPUKEEPER_DATA_DIR", settings.data_dir, settings.data_dir),
        ("GPUKEEPER_DATABASE_URL", settings.database_path, settings.database_path.resolve().parent),
    ):
        if not folder.is_dir():
            continue
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            # A folder can be locked as a file can, and nobody else locks this one.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise _without_locks(guarded, variable, error) from error
        finally:
            os.close(descriptor)
