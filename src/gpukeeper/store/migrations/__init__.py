"""The way from any older schema to this one: Alembic revisions, run at start under a lock."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, func, select, text

from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.store.postgres import is_postgres
from gpukeeper.store.signals import MIGRATIONS_LOCK

_HERE = Path(__file__).parent


def upgrade(engine: Engine) -> str:
    """Bring the schema to this version's revision and return it; idempotent.

    All of it happens in one write transaction, so of several processes that start together one
    migrates while the others wait and then find nothing left to do.  Raises InvalidConfiguration
    for a database that a newer version of the program has written.
    """
    with engine.begin() as connection:
        _wait_for_others(connection)
        _refuse_newer(connection)
        command.upgrade(_config(connection), "head")
        return current(connection) or ""


def current(connection: Connection) -> str | None:
    """Return the schema's revision; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def newest() -> str:
    """Return the revision that this version of the program needs."""
    return ScriptDirectory(str(_HERE)).get_current_head() or ""


def _wait_for_others(connection: Connection) -> None:
    """Let one process migrate at a time; on SQLite the transaction that is open does so."""
    if is_postgres(connection):
        # The others wait for as long as it takes, and so may the statements of a migration.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATIONS_LOCK)))


def _refuse_newer(connection: Connection) -> None:
    revision = current(connection)
    ours = {script.revision for script in ScriptDirectory(str(_HERE)).walk_revisions()}
    if revision is not None and revision not in ours:
        message = f"the database is at revision {revision} of a newer gpukeeper: update this one"
        raise InvalidConfiguration([Fault("GPUKEEPER_DATABASE_URL", message)])


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
