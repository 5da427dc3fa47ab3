"""Opens the database that the settings name, and brings it to this version."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

from gpukeeper.config import Secrets, Settings, file_owner, keep_deployment, kept_deployment
from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.store import facts, leases, migrations, tables
from gpukeeper.store.db.database import Connection, Database, StoreError, may_come_back, sqlite_url
from gpukeeper.store.db.integrity_check import find_damage
from gpukeeper.store.db.outages import database_message, describe_outage, is_locked
from gpukeeper.store.db.postgres import POOLER, database_identity
from gpukeeper.telemetry import get_logger

_VARIABLE = "GPUKEEPER_DATABASE_URL"
# A database that starts together with us, or fails over, is there by then.
PATIENCE = timedelta(seconds=30)
_TRY_EVERY_SECONDS = 0.5


def open_database(
    settings: Settings,
    *,
    patience: timedelta = PATIENCE,
    pause: Callable[[float], None] = sleep,
    timer: Callable[[], float] = monotonic,
) -> Database:
    """Return the database, which answers.

    A server that is not there yet is waited for.  Raises InvalidConfiguration when it cannot be
    opened or does not come in time.
    """
    if settings.postgres_url is None:
        _keep_private(settings.database_path)
        return Database(sqlite_url(settings.database_path))
    database = Database(settings.postgres_url.get_secret_value())
    ends_at = timer() + patience.total_seconds()
    told = ""
    try:
        while (error := _failure(database)) is not None:
            if not may_come_back(error) or timer() >= ends_at:
                raise InvalidConfiguration(
                    [Fault(_VARIABLE, f"cannot be used: {error_text(error)}")]
                )
            if told != (told := error_text(error)):
                get_logger("gpukeeper.store").warning("waiting_for_database", error=told)
            pause(_TRY_EVERY_SECONDS)
        with explain_store_errors(settings):
            if database.shares_sessions():
                raise InvalidConfiguration([Fault(_VARIABLE, POOLER)])
    except InvalidConfiguration:
        database.close()
        raise
    return database


def prepare_store(
    database: Database, settings: Settings, kept: Secrets, *, has_engine: bool
) -> str:
    """Bring the store to this version, free what a dead engine held, and return our mark.

    Raises InvalidConfiguration when the database cannot work at present, or is damaged.
    """
    with explain_store_errors(settings):
        revision = upgrade(database, settings)
        if revision != migrations.newest():
            log = get_logger("gpukeeper.store")
            log.info("schema_is_newer", revision=revision, ours=migrations.newest())
        return _prepare(database, settings, kept, has_engine=has_engine)


def upgrade(
    database: Database,
    settings: Settings,
    *,
    patience: timedelta = PATIENCE,
    pause: Callable[[float], None] = sleep,
    timer: Callable[[], float] = monotonic,
) -> str:
    """Bring a sound schema to this version and return its revision; idempotent.

    Another process that migrates the same file is waited for.  Raises InvalidConfiguration when
    the file is damaged or the schema is too new, and StoreError.
    """
    ends_at = timer() + patience.total_seconds()
    is_told = False
    while True:
        try:
            _refuse_damage(database, settings)
            return migrations.upgrade(database.engine)
        except StoreError as error:
            if not is_locked(error) or timer() >= ends_at:
                raise
            if not is_told:
                log = get_logger("gpukeeper.store")
                log.warning("waiting_for_database", error=describe_outage(error))
        is_told = True
        pause(_TRY_EVERY_SECONDS)


@contextmanager
def explain_store_errors(settings: Settings) -> Iterator[None]:
    """Turn what keeps the database from being used into a fault of the settings that name it."""
    try:
        yield
    except StoreError as error:
        sentence = describe_outage(error) or f"cannot be used: {database_message(error)}"
        place = "" if settings.postgres_url else f"{settings.database_path}: "
        raise InvalidConfiguration([Fault(_VARIABLE, f"{place}{sentence}")]) from error


def error_text(error: StoreError) -> str:
    """Return what the server, or the way to it, has said; it never names the password."""
    return database_message(error)


def _prepare(database: Database, settings: Settings, kept: Secrets, *, has_engine: bool) -> str:
    with database.engine.begin() as connection:
        # Only one engine works on a SQLite store, so whatever is leased was a dead one's.
        if has_engine and not database.is_shared:
            leases.release_all(connection, tables.instances)
            leases.release_all(connection, tables.deliveries)
            for duty in facts.Singleton:
                facts.release(connection, duty)
        if database.is_shared:
            _agree(connection, settings, kept)
            _notice_move(connection)
        if facts.find_mark(connection) is None:
            facts.record_birth(connection, datetime.now(UTC))
        mark = facts.ensure_mark(connection, kept_deployment(settings, kept))
    if not keep_deployment(settings, mark):
        get_logger("gpukeeper.store").warning("deployment_not_kept", directory=settings.data_dir)
    return mark


def _notice_move(connection: Connection) -> None:
    """Take a database that another server, or another database of it, has had for a restored one.

    A standby that takes over is the same: it was copied block by block.
    """
    if facts.record_home(connection, database_identity(connection)):
        facts.record_restore(connection)
        get_logger("gpukeeper.store").warning(
            "database_moved",
            consequence="no order is taken until two complete looks at Novita are done",
        )


def _agree(connection: Connection, settings: Settings, kept: Secrets) -> None:
    """Make sure that all processes encrypt with one key, and sign with one that was generated."""
    shared = {"GPUKEEPER_SECRET_KEY": kept.secret_key}
    if not settings.webhook_secrets:
        shared["GPUKEEPER_WEBHOOK_SECRET"] = kept.webhook[0]
    faults = [
        Fault(name, "is another one than that of the first process that used this database")
        for name, secret in shared.items()
        if not facts.agree_on(connection, name, _digest(secret.get_secret_value()))
    ]
    if faults:
        raise InvalidConfiguration(faults)


def _digest(secret: str) -> str:
    """Return what tells one secret from another and says nothing of it; they are 24+ bytes."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _refuse_damage(database: Database, settings: Settings) -> None:
    """Raise InvalidConfiguration for a damaged file: what is written to it may be lost with it."""
    if settings.postgres_url is not None:
        return
    # An open connection lets the file be read by one that cannot write.
    with database.engine.connect():
        try:
            found = find_damage(settings.database_path)
        except sqlite3.Error as error:
            found = str(error)
    if found is not None:
        message = f"{settings.database_path} is damaged ({found}): restore a backup"
        raise InvalidConfiguration([Fault(_VARIABLE, message)])


def _failure(database: Database) -> StoreError | None:
    try:
        database.engine.connect().close()
    except StoreError as error:
        return error
    return None


def _keep_private(path: Path) -> None:
    """Create the database file for our own user alone; SQLite gives its journals the same mode.

    Raises InvalidConfiguration when it, or a journal beside it, is not ours to read and write.
    """
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise InvalidConfiguration(
            [
                Fault(
                    _VARIABLE,
                    f"{path} cannot be opened: {error.strerror}{file_owner.explain_owner(path)}",
                )
            ]
        ) from error
    for end in ("", "-wal", "-shm"):
        file = path.with_name(path.name + end)
        if file_owner.is_unusable(file):
            message = f"{file} cannot be read and written{file_owner.explain_owner(file)}"
            raise InvalidConfiguration([Fault(_VARIABLE, message)])
