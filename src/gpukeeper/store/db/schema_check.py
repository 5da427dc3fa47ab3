"""Read which schema a database has, without changing anything in it."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from gpukeeper.store import migrations
from gpukeeper.store.db import outages, postgres
from gpukeeper.store.db.integrity_check import find_damage
from gpukeeper.store.db.postgres import POOLER


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """A schema: its revision, None without one; whether a start migrates it; why it cannot work."""

    revision: str | None
    is_older: bool
    refusal: str | None


# Reads something more of a database that has our schema.
Read = Callable[[Connection], None]


def check_file(path: Path, also: Read | None = None) -> SchemaReport:
    """Return what a SQLite file has, which is read as a whole.

    Raises StoreError, and what ``also`` raises.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True))
    found = _look(engine, also)
    if found.refusal is None and (damage := find_damage(path)) is not None:
        return replace(found, refusal=f"it is damaged ({damage}): restore a backup")
    return found


def check_server(url: str, also: Read | None = None) -> SchemaReport:
    """Return what a PostgreSQL database has.  Raises StoreError, at once when it is away.

    Where a start would make or change tables, it is tried whether it may: in a transaction that is
    given up.  Raises what ``also`` raises, too.
    """
    engine = postgres.open_engine(url, connections=2)
    try:
        if postgres.shares_sessions(engine):
            return SchemaReport(None, is_older=False, refusal=f"it {POOLER}")
        found = _look(postgres.read_only_engine(engine), also)
        if found.refusal is None and (found.revision is None or found.is_older):
            return replace(found, refusal=_may_not_create(engine))
        return found
    finally:
        engine.dispose()


def _may_not_create(engine: Engine) -> str | None:
    with engine.connect() as connection:
        try:
            # Given up with the transaction, as the connection is given back.
            connection.execute(text("CREATE TABLE gpukeeper_check (nothing integer)"))
        except DBAPIError as error:
            return f"its tables cannot be made: {outages.database_message(error)}"
    return None


def _look(engine: Engine, also: Read | None) -> SchemaReport:
    try:
        with engine.connect() as connection:
            revision = migrations.current(connection)
            is_known = revision is None or revision in migrations.ours().oldest_programs
            refusal = None if is_known else migrations.complaint(connection)
            is_older = is_known and revision != migrations.newest()
            if revision is not None and refusal is None and also is not None:
                also(connection)
            return SchemaReport(revision, is_older, refusal)
    finally:
        engine.dispose()
