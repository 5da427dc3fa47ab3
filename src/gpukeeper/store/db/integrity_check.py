"""Find out whether a SQLite file can be read in every place."""

import sqlite3
from contextlib import closing
from pathlib import Path
from time import monotonic

from gpukeeper.domain.errors import StoreUnavailable

# A service starts in a few seconds.  A gigabyte that is in memory takes half a second.
PATIENCE_SECONDS = 10.0
# How many steps of SQLite's machine pass between two looks at the time.
_STEPS = 1_000


def find_damage(path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> str | None:
    """Return what is damaged; None when all is sound that could be read within the patience.

    The structure of every page is checked, not that indexes agree with their tables, which takes
    three times as long.  Changes nothing.  Raises sqlite3.Error when the file cannot be read.
    """
    ends_at = monotonic() + patience_seconds
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.set_progress_handler(lambda: monotonic() >= ends_at, _STEPS)
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            raise
    return None if found == "ok" else " ".join(str(found).split())


def check_integrity(path: Path) -> None:
    """Raise StoreUnavailable unless the file can be read in every place."""
    try:
        found = find_damage(path)
    except sqlite3.Error as error:
        found = str(error)
    if found is not None:
        raise StoreUnavailable(f"Nothing can be stored at present: {found}.")
