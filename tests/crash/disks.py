"""Disks that fill up and databases that somebody else locks, for a process that runs."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Room for what has to be left free and for a young database, and soon used up.
_DISK = "48m"
_BLOCK = b"x" * 4096

_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@dataclass(slots=True)
class SmallDisk:
    """A directory whose disk can be filled.

    Where a file system may be mounted it is one of its own; elsewhere the process is forbidden to
    make any file longer, which fails like a broken disk does.
    """

    path: Path
    is_mounted: bool
    process_id: int = 0

    @property
    def trouble(self) -> str:
        """What the service says of it when it is full."""
        return "the disk is full" if self.is_mounted else "the disk cannot be read or written"

    def fill(self) -> None:
        """Leave no room."""
        if not self.is_mounted:
            self._limit(0)
            return
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(_BLOCK)
            except OSError:
                return

    def free(self) -> None:
        """Make room again."""
        if self.is_mounted:
            (self.path / "ballast").unlink()
        else:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        hard = resource.prlimit(self.process_id, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process_id, resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Give a small disk at a path."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(path)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(path, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Let another process write to a SQLite file, and not come to an end."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()
