"""Transactions: units of work, which are plain functions of a connection, run in threads.

SQLite has one writer at a time, so its writers queue in our process instead of polling for the
lock, and whatever has queued up meanwhile is committed together: each unit behind its own
savepoint, one fsync for all.  Its readers share snapshots likewise, since threads that read side by
side would only wait for each other in Python.  On PostgreSQL units run side by side.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.store.db import outages, postgres
from gpukeeper.store.db.availability import Availability, OnOutage
from gpukeeper.store.db.batch_executor import BatchExecutor, Outcome, Unit, capture_outcome
from gpukeeper.store.db.integrity_check import check_integrity
from gpukeeper.store.db.read_cache import ReadCache

# What the other packages need to name: a unit's connection, and whatever can go wrong with it.
StoreError = SQLAlchemyError
# What was to be stored once is there already, such as a machine's id at Novita.
Conflict = IntegrityError
may_come_back = postgres.may_come_back
__all__ = [
    "Conflict",
    "Connection",
    "Database",
    "StoreError",
    "Table",
    "may_come_back",
    "sqlite_url",
]

T = TypeVar("T")

# How long a statement waits for another process that writes to the same file.
_BUSY_TIMEOUT_MS = 5_000
# While one process turns a new file to WAL, others that ask for it are refused without that wait.
_WAL_TRIES = 50
_WAL_PAUSE_SECONDS = 0.1
# Readers of SQLite block each other in Python: a second thread only passes one that takes long.
_LANES_TO_READ = 2
# Units that share one snapshot; bounds how long the first of them waits for the last.
_READ_GROUP_SIZE = 16
# So many units read from PostgreSQL at a time.
_READERS = 4
# So many units write to PostgreSQL at a time: each waits for the network most of its time.
_WRITERS = 8
# How often a unit on PostgreSQL begins again because of units beside it.
_TRIES = 5
# Units that share one commit; bounds how long the first of them waits for the last.
_WRITE_GROUP_SIZE = 128
_PRAGMAS = (f"busy_timeout = {_BUSY_TIMEOUT_MS}", "foreign_keys = ON")
# An order is money: what was committed survives a power cut.
_WRITER_PRAGMAS = (*_PRAGMAS, "synchronous = FULL")
_READER_PRAGMAS = (*_PRAGMAS, "query_only = ON")


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Database:
    """One database, open from construction until :meth:`close`.

    ``is_shared`` says whether processes on other machines may work on it too.
    """

    def __init__(self, url: str) -> None:
        self.is_shared = url.startswith("postgres")
        self._closing = threading.Lock()
        self._is_closed = False
        self._condition = Availability()
        # Without one (on PostgreSQL) nobody can read all of it to see whether it is sound.
        self._path: Path | None = None
        self._touch: Unit[object] | None = None
        # Who reads and who writes: lanes on SQLite, pools on PostgreSQL.
        self._lanes: tuple[BatchExecutor, ...] = ()
        self._pools: tuple[ThreadPoolExecutor, ...] = ()
        self._kept: ReadCache | None = None
        if self.is_shared:
            self._writer = postgres.open_engine(url, connections=_READERS + _WRITERS)
            self._reader = postgres.read_only_engine(self._writer)
            self._pools = (
                ThreadPoolExecutor(_READERS, thread_name_prefix="store-read"),
                ThreadPoolExecutor(_WRITERS, thread_name_prefix="store-write"),
            )
        else:
            self._writer = _engine(url, begin="BEGIN IMMEDIATE", pragmas=_WRITER_PRAGMAS)
            self._reader = _engine(url, begin="BEGIN", pragmas=_READER_PRAGMAS)
            self._lanes = (
                BatchExecutor(
                    "store-read",
                    self._read_all,
                    group_size=_READ_GROUP_SIZE,
                    threads=_LANES_TO_READ,
                ),
                BatchExecutor("store-write", self._write_all, group_size=_WRITE_GROUP_SIZE),
            )
            self._path = Path(make_url(url).database or "")
            self._kept = ReadCache(self._path)

    @property
    def engine(self) -> Engine:
        """The engine that may write, for migrations before anything else runs."""
        return self._writer

    @property
    def origin(self) -> str:
        """What this process's signals are known by."""
        return str(self._writer.get_execution_options().get(postgres.ORIGIN, ""))

    def told_time(self) -> datetime:
        """Return the time by the database's clock."""
        with self._writer.connect() as connection:
            at: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return at.astimezone(UTC)

    def shares_sessions(self) -> bool:
        """Whether a pooler before a server loses what is set for a session.  Raises StoreError."""
        return self.is_shared and postgres.shares_sessions(self._writer)

    async def read(self, unit: Unit[T]) -> T:
        """Return what ``unit`` reads, from one consistent snapshot; it cannot write.

        Raises StoreUnavailable, and RuntimeError after :meth:`close`.
        """
        try:
            return await _translated(self._begin(unit, is_write=False))
        except StoreUnavailable as error:
            # What could not be read is well when just that can be read.
            self._meet(error, partial(self._begin, unit, is_write=False))
            raise

    async def read_kept(self, key: Hashable, unit: Unit[T], *, size: int = 1) -> T:
        """Return what :meth:`read` would, without reading while nothing is committed by anybody.

        What ``unit`` returns is given to many callers: nobody may change it.  ``key`` stands for
        the unit and all that it depends on, ``size`` for how many rows it returns at most.  On
        PostgreSQL nothing is kept.  Raises as :meth:`read` does.
        """
        if self._kept is None:
            return await self.read(unit)
        return await self._kept.read(key, partial(self.read, unit), size=size)

    async def write(self, unit: Unit[T]) -> T:
        """Return what ``unit`` returns once its changes are on disk.

        An exception in the unit undoes this unit alone and is raised here.  A caller that is
        cancelled does not undo its unit.  On PostgreSQL a unit may run several times, the last
        time to its end.  Raises StoreUnavailable when the disk is full, the server is away or the
        like, and RuntimeError after :meth:`close`.
        """
        try:
            return await _translated(self._begin(unit, is_write=True))
        except StoreUnavailable as error:
            self._meet(error, None)
            raise

    async def trouble(self, unit: Unit[object], *, patience_seconds: float = 1.0) -> str | None:
        """Return why the database does not work at present, or None.

        Costs nothing until any unit fails; from then on it is tried whether the trouble is over:
        ``unit`` is written, what could not be read is read again, and a damaged file is read as a
        whole.  It is said not to be over when that takes longer than the patience.
        """
        self._touch = unit
        return await self._condition.trouble(patience_seconds=patience_seconds)

    def on_trouble(self, tell: OnOutage) -> None:
        """Have someone told, in an event loop, when the database ceases to work and works again."""
        self._condition.on_change = tell

    def close(self) -> None:
        """Finish the queued writes and close every connection; idempotent."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        if self._kept is not None:
            self._kept.close()
        for lanes in self._lanes:
            lanes.close()
        for pool in self._pools:
            pool.shutdown()
        self._writer.dispose()
        self._reader.dispose()

    def _meet(self, error: StoreUnavailable, again: Callable[[], Awaitable[object]] | None) -> None:
        is_damage = outages.is_damage(error.__cause__)

        async def prove() -> None:
            if is_damage and self._path is not None:
                await asyncio.to_thread(check_integrity, self._path)
                # Connections remember pages as they were.
                self._writer.dispose()
                self._reader.dispose()
            if again is not None:
                await _translated(again())
            if self._touch is not None:
                await _translated(self._begin(self._touch, is_write=True))

        self._condition.meet(error.message, prove)

    def _begin(self, unit: Unit[T], *, is_write: bool) -> asyncio.Future[T]:
        """Hand a unit to a thread, which runs it even if the caller is cancelled."""
        with self._closing:
            if self._is_closed:
                raise RuntimeError("the database is closed")
            if self._lanes:
                return self._lanes[is_write].submit(unit)
            run = self._write if is_write else self._read
            submitted = self._pools[is_write].submit(run, unit)
        outcome = asyncio.wrap_future(submitted)
        # When the caller is cancelled, nobody is left to hear of a failure, and asyncio would
        # report it as forgotten.
        outcome.add_done_callback(_heard)
        return asyncio.shield(outcome)

    def _read(self, unit: Unit[T]) -> T:
        with self._reader.connect() as connection:
            return unit(connection)

    def _write(self, unit: Unit[T]) -> T:
        for _ in range(_TRIES - 1):
            try:
                with self._writer.begin() as connection:
                    return unit(connection)
            except DBAPIError as error:
                if not postgres.is_retriable(error):
                    raise
        with self._writer.begin() as connection:
            return unit(connection)

    def _read_all(self, group: Sequence[Unit[Any]]) -> list[Outcome]:
        with self._reader.connect() as connection:
            return [capture_outcome(partial(unit, connection)) for unit in group]

    def _write_all(self, group: Sequence[Unit[Any]]) -> list[Outcome]:
        with self._writer.begin() as connection:
            if len(group) == 1:
                # It needs no savepoint: the transaction is its own, and is undone as a whole.
                return [(group[0](connection), None)]
            return [_run(connection, unit) for unit in group]


def _heard(outcome: asyncio.Future[Any]) -> None:
    if not outcome.cancelled():
        outcome.exception()


async def _translated(outcome: Awaitable[T]) -> T:
    try:
        return await outcome
    except SQLAlchemyError as error:
        sentence = outages.describe_outage(error)
        if sentence is None:
            raise
        raise StoreUnavailable(f"Nothing can be stored at present: {sentence}.") from error


def _run(connection: Connection, unit: Unit[Any]) -> Outcome:
    savepoint = connection.begin_nested()
    try:
        result = unit(connection)
    except BaseException as error:
        if outages.describe_outage(error) is not None:
            # SQLite has given up the whole transaction, and the savepoint with it.
            raise
        savepoint.rollback()
        return None, error
    savepoint.commit()
    return result, None


def _engine(url: str, *, begin: str, pragmas: Sequence[str]) -> Engine:
    # What is stored must not be quoted in the message of an error, and so in a log.
    engine = create_engine(url, connect_args={"check_same_thread": False}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        # The driver must not open transactions of its own: `begin` below says how they start.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _use_wal(connection: Any) -> None:
    # The pauses here are ours: SQLite's own wait would come on top of each.
    connection.execute("PRAGMA busy_timeout = 0").close()
    tries = 1
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or tries == _WAL_TRIES:
                raise
        tries += 1
        sleep(_WAL_PAUSE_SECONDS)
