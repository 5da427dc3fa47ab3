"""Find all that the service could not start with, at once, and change nothing."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

from gpukeeper.config import Settings, examine_data_dir
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.port_check import CannotListen, check_port
from gpukeeper.telemetry.log_outputs import find_file_fault
from gpukeeper.telemetry.logs import LOG_FILE

# The store, the logs and the loops take some fifty; the rest is for callers and receivers.
LEAST_OPEN_FILES = 256

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_preconditions(settings: Settings) -> None:
    """Raise InvalidConfiguration with every fault of data directory, logs, address and limits.

    A port that somebody else listens on is no fault here: it may be the service itself that runs.
    """
    faults = [
        *_faults_of_data_dir(settings),
        *_faults_of_address(settings),
        *_faults_of_limits(),
    ]
    if faults:
        raise InvalidConfiguration(faults)


def address_fault(error: CannotListen) -> Fault:
    """Return what is wrong with the settings of an address that can never be listened on."""
    return Fault("GPUKEEPER_PORT" if error.is_port else "GPUKEEPER_HOST", error.message)


def find_open_paths(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yield what other users may read or change of the data directory, and what would mend it.

    They are ours to make private and not this program's: somebody may share the directory.  Where
    nobody else may enter, nothing in it is open; what belongs to another user is that user's.
    """
    directory = settings.data_dir
    if not _is_open(directory):
        return
    yield directory, f"chmod 700 {directory}"
    for path in sorted([*directory.iterdir(), *_entries(settings.log_dir)]):
        if path.is_file() and _is_open(path):
            yield path, f"chmod 600 {path}"


def _faults_of_data_dir(settings: Settings) -> Iterator[Fault]:
    try:
        examine_data_dir(settings)
    except InvalidConfiguration as error:
        yield from error.faults
        return
    if fault := find_file_fault(settings.log_dir / LOG_FILE):
        yield Fault("GPUKEEPER_DATA_DIR", fault)


def _faults_of_address(settings: Settings) -> Iterator[Fault]:
    try:
        check_port(settings.host, settings.port, setting="GPUKEEPER_PORT")
    except CannotListen as error:
        if not error.is_taken:
            yield address_fault(error)


def _faults_of_limits() -> Iterator[Fault]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LEAST_OPEN_FILES:
        yield Fault(
            "ulimit -n",
            f"allows {hard} open files, too few for the service: allow {LEAST_OPEN_FILES} or more",
        )


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _is_open(path: Path) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    # The group of a volume that is another's may be how we reach it ourselves.
    return about.st_uid == os.geteuid() and bool(about.st_mode & _OPEN_TO_OTHERS)
