"""A server that takes no changes any more is left, and the one that does is found."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import select, text

from gpukeeper.domain.errors import InvalidConfiguration, StoreUnavailable
from gpukeeper.store import facts, migrations, tables
from gpukeeper.store.db import notify_listener, postgres
from gpukeeper.store.db.database import Connection, Database, StoreError
from gpukeeper.store.db.notify_listener import Listener
from gpukeeper.store.db.outages import describe_outage
from gpukeeper.store.db.schema_check import check_server
from gpukeeper.store.db.shared_clock import SharedClock
from tests.postgres import Server, server
from tests.store.db.test_notify_listener import Ears
from tests.store.rows import NOW

# Of a running server: how many of our connections it has.
_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gpukeeper%'"


@dataclass(slots=True)
class Pair:
    """A primary, its standby, and one address that can be moved from one to the other."""

    primary: Server
    standby: Server
    address: Path

    @property
    def of_both(self) -> str:
        """The URL that names both servers."""
        hosts = f"{self.primary.directory},{self.standby.directory}"
        return f"postgresql://postgres@/postgres?host={quote(hosts, safe='')}"

    @property
    def of_address(self) -> str:
        """The URL of the address."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.address), safe='')}"

    def move_address(self, to: Server) -> None:
        """Let the address be another server's from now on."""
        self.address.unlink(missing_ok=True)
        self.address.symlink_to(to.directory)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Give a primary with the schema, and a standby that has followed it so far."""
    with ExitStack() as stack:
        primary = stack.enter_context(server())
        with closing(Database(primary.url)) as database:
            migrations.upgrade(database.engine)
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True)
        )
        (directory := Path(folder) / "standby").mkdir()
        Path(folder).chmod(0o755)
        standby = stack.enter_context(Server(directory))
        standby.create_standby_of(primary)
        standby.start()
        pair = Pair(primary, standby, Path(folder) / "address")
        pair.move_address(primary)
        yield pair


def keep(key: str) -> Callable[[Connection], None]:
    """Return a unit that stores a fact."""

    def unit(connection: Connection) -> None:
        connection.execute(tables.facts.insert().values(key=key, body="null"))

    return unit


def touch(connection: Connection) -> None:
    """Be what readiness tries."""
    facts.touch(connection, NOW)


def kept(connection: Connection) -> set[str]:
    """Return which facts of the tests are stored."""
    keys = connection.scalars(select(tables.facts.c.key).where(tables.facts.c.key.like("test%")))
    return set(keys)


def facts_at(at: Server) -> set[str]:
    """Return which facts of the tests a server has."""
    with psycopg.connect(at.url) as connection:
        rows = connection.execute("SELECT key FROM facts WHERE key LIKE 'test%'").fetchall()
    return {key for (key,) in rows}


async def use_every_connection(database: Database) -> None:
    """Have many units read and write at the same time."""
    await asyncio.gather(
        *(database.read(kept) for _ in range(40)), *(database.write(touch) for _ in range(40))
    )


async def test_a_primary_that_is_fenced_gets_no_change_from_a_connection_that_has_read(
    pair: Pair,
) -> None:
    with closing(Database(pair.primary.url)) as database:
        await use_every_connection(database)
        pair.primary.fence()
        for number in range(20):
            with pytest.raises(StoreUnavailable, match=r"fails over \(.*read-only|no changes"):
                await database.write(keep(f"test {number}"))
        assert facts_at(pair.primary) == set()
        assert await database.trouble(touch, patience_seconds=30) is not None

        pair.primary.fence(is_on=False)
        assert await database.trouble(touch, patience_seconds=30) is None
        await database.write(keep("test after"))
    assert facts_at(pair.primary) == {"test after"}


async def test_of_two_servers_the_one_that_takes_changes_is_found_and_the_other_left(
    pair: Pair,
) -> None:
    told: list[str | None] = []
    with closing(Database(pair.of_both)) as database:
        database.on_trouble(told.append)
        await use_every_connection(database)
        pair.primary.fence()
        with pytest.raises(StoreUnavailable):
            await database.write(keep("test between"))
        # Nobody is told what is not there any more, either.
        with pytest.raises(StoreUnavailable):
            await database.read(kept)

        pair.standby.promote()
        assert await database.trouble(touch, patience_seconds=30) is None
        await use_every_connection(database)
        await asyncio.gather(*(database.write(keep(f"test {number}")) for number in range(20)))
        assert await database.read(kept) == {f"test {number}" for number in range(20)}
        with psycopg.connect(pair.primary.url) as connection:
            assert connection.execute(_OURS).fetchone() == (0,)
    assert facts_at(pair.primary) == set()
    assert told[-1] is None
    assert all("while it fails over" in str(each) for each in told[:-1])


async def test_an_address_that_moves_to_a_standby_before_it_is_promoted_is_waited_for(
    pair: Pair,
) -> None:
    with closing(Database(pair.of_address)) as database:
        await use_every_connection(database)
        pair.move_address(pair.standby)
        pair.primary.stop()
        for unit in (keep("test 1"), kept):
            with pytest.raises(StoreUnavailable):
                await database.write(unit)
        assert await database.trouble(touch, patience_seconds=30) is not None
        pair.standby.promote()
        assert await database.trouble(touch, patience_seconds=30) is None
        await database.write(keep("test 2"))
        assert await database.read(kept) == {"test 2"}


async def test_a_transaction_that_meets_the_fence_midway_stores_nothing_and_says_why(
    postgres_database: Database,
) -> None:
    def meet_fence(connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        keep("test midway")(connection)

    with pytest.raises(StoreUnavailable, match=r"fails over.*read-only transaction"):
        await postgres_database.write(meet_fence)
    await postgres_database.write(keep("test after"))
    assert await postgres_database.read(kept) == {"test after"}


@pytest.mark.parametrize("code", ["25006", "57P01", "57P02", "57P03", "08006", "08P01"])
async def test_what_a_server_says_that_is_going_ends_the_use_of_all_its_connections(
    postgres_database: Database, code: str
) -> None:
    def process(connection: Connection) -> int:
        return int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    def be_told(connection: Connection) -> None:
        connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'going' USING ERRCODE = '{code}'; END $$")
        )

    before = {await postgres_database.write(process) for _ in range(20)}
    with pytest.raises(StoreUnavailable, match="going"):
        await postgres_database.write(be_told)
    assert await postgres_database.write(process) not in before


async def test_a_standby_says_so_in_words_only_and_is_left_all_the_same(
    postgres_database: Database,
) -> None:
    said = "cannot set transaction read-write mode during recovery"

    def be_told(connection: Connection) -> None:
        connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = '0A000'; END $$")
        )

    with pytest.raises(StoreUnavailable, match=rf"fails over \({said}\)"):
        await postgres_database.write(be_told)


@asynccontextmanager
async def _listening(url: str) -> AsyncIterator[Ears]:
    ears = Ears()
    listener = Listener(
        url,
        origin="here",
        clock=SharedClock(NOW, steady=lambda: 0.0),
        on_signal=ears.hear,
        on_missed=ears.miss,
        on_lost=ears.lose,
        on_back=ears.return_,
    )
    task = asyncio.create_task(listener.run())
    try:
        yield ears
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_listener_leaves_a_server_that_was_fenced_and_hears_the_other(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify_listener, "_REST_SECONDS", 0.01)
    monkeypatch.setattr(notify_listener, "_HEARTBEAT_SECONDS", 0.01)
    async with _listening(pair.of_both) as ears:
        await ears.until(lambda: ears.missed == 1)
        pair.primary.fence()
        await ears.until(lambda: ears.lost)
        assert "the server takes no changes" in ears.lost[0]
        pair.standby.promote()
        await ears.until(lambda: ears.back == 1)
        with psycopg.connect(pair.primary.url) as connection:
            assert connection.execute(_OURS).fetchone() == (0,)


def test_options_of_the_url_and_our_limits_both_hold(postgres_url: str) -> None:
    joined = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{joined}options={quote('-c statement_timeout=77s -c work_mem=5MB')}"
    with closing(Database(url)) as database, database.engine.connect() as connection:

        def shown(name: str) -> str:
            return str(connection.scalar(text(f"SHOW {name}")))

        assert (shown("statement_timeout"), shown("work_mem")) == ("77s", "5MB")
        assert shown("lock_timeout") == "8s"
        assert shown("idle_in_transaction_session_timeout") == "8s"


def test_a_standby_is_not_taken_for_a_database_that_is_to_be_set_up(pair: Pair) -> None:
    with pytest.raises(StoreError) as refusal:
        check_server(pair.standby.url)
    assert "fails over" in (describe_outage(refusal.value) or "")


@pytest.mark.parametrize(
    ("query", "said"),
    [("?foo=bar", 'invalid URI query parameter: "foo"'), ("?host=%zz", "does not understand it")],
)
def test_a_url_that_libpq_does_not_understand_is_told_in_one_sentence(
    query: str, said: str
) -> None:
    with pytest.raises(InvalidConfiguration) as refusal:
        Database(f"postgresql://me:hunter2-password@127.0.0.1:9/db{query}")
    (fault,) = refusal.value.faults
    assert said in fault.message
    assert "hunter2" not in fault.message


@dataclass(slots=True)
class Pooler:
    """What lends sessions, as PgBouncer does, to clients that it tells of processes it invented.

    ``per_transaction`` lends the one that was given back last, for a transaction; else each
    client has its own.  ``size`` is how many there are.
    """

    per_transaction: bool
    size: int = 3
    free: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = list(range(1, self.size + 1))

    def connect(self) -> "Session":
        return Session(self)


@dataclass(slots=True)
class Session:
    """One client's connection, as far as it is asked."""

    pooler: Pooler
    lent: int | None = None

    @property
    def info(self) -> "Session":
        return self

    backend_pid = 4711

    def execute(self, _: str, *, prepare: bool) -> "Session":
        assert not prepare
        if self.lent is None:
            assert self.pooler.free, "would wait for ever"
            self.lent = self.pooler.free.pop()
        return self

    def fetchone(self) -> tuple[int | None]:
        return (self.lent,)

    def rollback(self) -> None:
        if self.pooler.per_transaction and self.lent is not None:
            self.pooler.free.append(self.lent)
            self.lent = None

    def transaction(self) -> "Session":
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.rollback()


@dataclass(slots=True)
class Borrowing:
    """As much of an engine as is asked whether its connections share sessions."""

    pooler: Pooler
    connection: "Borrowing | None" = None
    dbapi_connection: Session | None = None

    def connect(self) -> "Borrowing":
        self.connection = Borrowing(self.pooler, dbapi_connection=self.pooler.connect())
        return self.connection

    def __enter__(self) -> "Borrowing":
        return Borrowing(self.pooler, connection=self)

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("pooler", "is_shared"),
    [
        (Pooler(per_transaction=True), True),
        (Pooler(per_transaction=True, size=1), True),
        (Pooler(per_transaction=False), False),
    ],
)
def test_a_pooler_that_lends_sessions_for_a_transaction_is_told_from_one_that_does_not(
    pooler: Pooler, is_shared: bool
) -> None:
    assert postgres.shares_sessions(Borrowing(pooler)) is is_shared  # type: ignore[arg-type]  # what it asks of an engine


def test_a_server_without_a_pooler_shares_no_sessions(postgres_database: Database) -> None:
    assert not postgres_database.shares_sessions()
