"""Copy a SQLite database while others work on it."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from gpukeeper.store import facts
from gpukeeper.store.db.batch_executor import capture_outcome
from gpukeeper.store.db.database import StoreError

# What file systems say that have no second name for a file (FAT, some network shares).
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def copy(source: Path, target: Path) -> int:
    """Write a consistent copy that only we may read, and return its size in bytes.

    It has its name when it is complete and was found to be sound; until then, and however this
    ends, there is nothing of that name.  Raises FileExistsError rather than overwrite anything,
    other OSErrors when the file cannot be written, and StoreError when the source is no database
    or is damaged.
    """
    if target.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    # Of our own user alone, on the disk of the target, and gone with all that SQLite left in it.
    with TemporaryDirectory(
        prefix=f".{target.name}-", dir=target.parent, ignore_cleanup_errors=True
    ) as directory:
        unfinished = Path(directory) / "copy.db"
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _interruptibly(partial(_copy, source, unfinished))
        _sync(unfinished)
        size = unfinished.stat().st_size
        _name(unfinished, target)
    return size


def _interruptibly(run: Callable[[], None]) -> None:
    """Run something that is deaf to signals, as SQLite's one step is, and let them end the wait.

    Whoever is interrupted ends the process, and the thread does not keep it.
    """
    done: Future[None] = Future()

    def work() -> None:
        _, failure = capture_outcome(run)
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    threading.Thread(target=work, name="backup", daemon=True).start()
    done.result()


def _copy(source: Path, unfinished: Path) -> None:
    uri = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(uri, uri=True)) as original,
            closing(sqlite3.connect(unfinished)) as duplicate,
        ):
            # In one step, which reads one snapshot beside whoever writes.  Of several steps each
            # commit in between begins the copy again, which under load never ends.
            original.backup(duplicate, pages=-1)
            _note_copy(duplicate)
            # One file, without a journal beside it that would have to be kept, too.
            duplicate.execute("PRAGMA journal_mode = DELETE").close()
            (found,) = duplicate.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise StoreError(f"{source}: {error}") from error
    if found != "ok":
        raise StoreError(f"{source} is damaged, and so would be its copy: {found}")


def _note_copy(duplicate: sqlite3.Connection) -> None:
    """Have whoever starts on the copy look before it buys: what is bought later is not in it."""
    if duplicate.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
        row = (facts.RESTORED_KEY, str(facts.SWEEPS_AFTER_RESTORE))
        duplicate.execute("INSERT OR REPLACE INTO facts (key, body) VALUES (?, ?)", row)
        duplicate.commit()


def _name(unfinished: Path, target: Path) -> None:
    """Give the copy its name, unless something else has got it meanwhile."""
    try:
        os.link(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        unfinished.replace(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
