"""The way from any older schema to this one: Alembic revisions, run at start under a lock.

A schema may be newer than a program that works on it, as long as replicas are replaced one after
the other: each revision names the ``oldest_program`` that still works on the schema that it
makes.  A program is known by the newest revision that it has.

Most starts have nothing to migrate: they are spared Alembic's 12 MB and the time to import it.
"""

import os
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, column, func, inspect, select, table, text

from gpukeeper import __version__
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.store import facts
from gpukeeper.store.db.notify import MIGRATIONS_LOCK
from gpukeeper.store.db.postgres import is_postgres
from gpukeeper.store.facts import Schema

_HERE = Path(__file__).parent
# Where Alembic notes the revision.
_VERSION = table("alembic_version", column("version_num"))
# What is read of a revision without running it.
_SAID = re.compile(r"""^(revision|oldest_program) = ["'](\w+)["']$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Program:
    """What a version of the program knows of schemas: each revision's oldest program, in order.

    ``folders`` hold the revisions.
    """

    version: str
    folders: tuple[Path, ...]
    oldest_programs: dict[str, str]

    @property
    def newest(self) -> str:
        """The revision that this program makes, and is known by."""
        return list(self.oldest_programs)[-1]

    @property
    def schema(self) -> Schema:
        """What is to be said in the database of the schema that this program makes."""
        return Schema(self.newest, self.oldest_programs[self.newest], self.version)


def program_of(version: str, *folders: Path) -> Program:
    """Return a program whose revisions are in these folders; their files' names are in order."""
    files = [path for folder in folders for path in folder.glob("v*.py")]
    files.sort(key=lambda path: path.name)
    said = [dict(_SAID.findall(path.read_text(encoding="utf-8"))) for path in files]
    oldest = {revision["revision"]: revision["oldest_program"] for revision in said}
    return Program(version, folders, oldest)


@cache
def ours() -> Program:
    """Return this program."""
    return program_of(__version__, _HERE / "versions")


def upgrade(engine: Engine, program: Program | None = None) -> str:
    """Bring the schema to the program's revision and return the revision; idempotent.

    A newer schema on which the program works is left as it is.  All of it happens in one write
    transaction, so of several processes that start together one migrates while the others wait
    and then find nothing left to do.  Raises InvalidConfiguration for a schema that is too new.
    """
    program = program or ours()
    with engine.begin() as connection:
        _wait_for_others(connection)
        revision = current(connection)
        if revision is None or revision in program.oldest_programs:
            if revision != program.newest:
                _migrate(connection, program)
            _tell(connection, program.schema)
        elif sentence := complaint(connection, program):
            raise InvalidConfiguration([Fault("GPUKEEPER_DATABASE_URL", sentence)])
        return current(connection) or ""


def complaint(connection: Connection, program: Program | None = None) -> str | None:
    """Return why the program cannot work on the schema, and what to do; None if it can."""
    program = program or ours()
    revision = current(connection)
    if revision == program.newest:
        return None
    if revision is None or revision in program.oldest_programs:
        found = f"is at revision {revision}" if revision else "is empty"
        return f"the database {found}, and needs {program.newest}: run 'gpukeeper migrate'"
    schema = facts.find_schema(connection) if inspect(connection).has_table("facts") else None
    if schema is None or schema.revision != revision:
        # Only its own program could tell who works on it.
        schema = Schema(revision, revision, "")
    if schema.oldest_program in program.oldest_programs:
        return None
    newer = f"gpukeeper {schema.version}".rstrip()
    return (
        f"the database is at revision {revision} of a newer {newer}, and gpukeeper"
        f" {program.version} is too old for it: install the newer version here, too,"
        " or restore the backup from before the upgrade"
    )


def current(connection: Connection) -> str | None:
    """Return the schema's revision; None for an empty database."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    revision: str | None = connection.scalar(select(_VERSION.c.version_num))
    return revision


def newest() -> str:
    """Return the revision that this version of the program makes."""
    return ours().newest


def _tell(connection: Connection, schema: Schema) -> None:
    """Store what older programs have to know of the schema; the version that made it stays."""
    told = facts.find_schema(connection)
    if told is None or replace(told, version=schema.version) != schema:
        facts.store_schema(connection, schema)


def _wait_for_others(connection: Connection) -> None:
    """Let one process migrate at a time; on SQLite the transaction that is open does so."""
    if is_postgres(connection):
        # The others wait for as long as it takes, and so may the statements of a migration.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATIONS_LOCK)))


def _migrate(connection: Connection, program: Program) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _option(_HERE))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(_option, program.folders)))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _option(path: Path) -> str:
    return str(path).replace("%", "%%")
