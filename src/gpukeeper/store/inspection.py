"""Read which schema a database has, without changing anything in it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, create_engine

from gpukeeper.store import migrations, postgres


@dataclass(frozen=True, slots=True)
class Found:
    """A schema: its revision, None without one; whether a start migrates it; why it cannot work."""

    revision: str | None
    is_older: bool
    refusal: str | None


def look_into_file(path: Path) -> Found:
    """Return what a SQLite file has.  Raises StoreError."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return _look(create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True)))


def look_into_server(url: str) -> Found:
    """Return what a PostgreSQL database has.  Raises StoreError, at once when it is away."""
    return _look(postgres.reading(postgres.open_engine(url, connections=1)))


def _look(engine: Engine) -> Found:
    try:
        with engine.connect() as connection:
            revision = migrations.current(connection)
            is_known = revision is None or revision in migrations.ours().oldest_programs
            refusal = None if is_known else migrations.complaint(connection)
            is_older = is_known and revision != migrations.newest()
            return Found(revision, is_older, refusal)
    finally:
        engine.dispose()
