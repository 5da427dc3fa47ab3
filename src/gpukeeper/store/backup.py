"""Copy a SQLite database while others work on it."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gpukeeper.store.database import StoreError

# Pages that are copied at once; in between, writers have their turn.
_PAGES = 256


def copy(source: Path, target: Path) -> int:
    """Write a consistent copy that only we may read, and return its size in bytes.

    Raises FileExistsError rather than overwrite anything, other OSErrors when the file cannot be
    written, and StoreError when the source is no database; then no file is left.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as original,
            closing(sqlite3.connect(target)) as duplicate,
        ):
            original.backup(duplicate, pages=_PAGES)
            # One file, without a journal beside it that would have to be kept, too.
            duplicate.execute("PRAGMA journal_mode = DELETE").close()
    except sqlite3.Error as error:
        target.unlink()
        raise StoreError(f"{source}: {error}") from error
    return target.stat().st_size
