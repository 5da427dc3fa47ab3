"""PostgreSQL: how it is connected to, so that no failure of it is waited for without end.

Its driver takes 9 MB, and is imported by what uses it: most stores are SQLite files.
"""

import json
import secrets
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError

from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.store.db import outages

if TYPE_CHECKING:
    import psycopg

# Two transactions that want each other's rows: one of them is told to begin again.  So is one
# that a server refused which takes no changes any more: the next try finds another server.
_BEGIN_AGAIN = frozenset({"40001", "40P01", "25006"})
# What a server says that is there and not ready yet; whatever else it says will not pass.
_SOON = ("starting up", "shutting down", "recovery mode", "too many clients")

# How long a server may take to answer a new connection; a fail-over tries several in that time.
_CONNECT_SECONDS = 5
# A server that vanished without a word is noticed after these.
_TCP = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# A statement of ours takes milliseconds.  What takes this long hangs, and holds up others: a
# replica that is frozen within a transaction must not stop all of them.
_LIMITS_MS = {
    "statement_timeout": 15_000,
    "lock_timeout": 8_000,
    "idle_in_transaction_session_timeout": 8_000,
}
# Asked of every new connection: whether its server takes changes, and to keep our limits unless the
# URL's `options` name others.  They are set here and not by `options` of ours, which would take the
# place of the URL's, and which poolers refuse.
GREETING = """
    SELECT current_setting('transaction_read_only') = 'on',
           count(set_config(limits.key, limits.value, false))
    FROM json_each_text(%s) AS limits
    JOIN pg_settings AS settings ON settings.name = limits.key AND settings.source <> 'client'
"""
LIMITS = (json.dumps(_LIMITS_MS),)
_IS_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"
# Said of a pooler that would lose what we set for a session, and what we listen to.
POOLER = (
    "is behind a pooler that shares sessions between transactions (pool_mode = transaction):"
    " name the server itself, or a pool with pool_mode = session"
)
# Marks a connection that was greeted a moment ago.
_IS_NEW = "gpukeeper_is_new"
# How long a unit waits for a connection of the pool.
_POOL_SECONDS = 10
# The execution option that says which process a connection belongs to.
ORIGIN = "gpukeeper_origin"


def connection_parameters(application: str) -> dict[str, Any]:
    """Return what every connection is opened with; the URL's own parameters win."""
    return {
        "application_name": application,
        "connect_timeout": _CONNECT_SECONDS,
        # Of several hosts the one that takes changes.
        "target_session_attrs": "read-write",
        **_TCP,
    }


def open_engine(url: str, *, connections: int) -> Engine:
    """Return an engine with so many connections at most, opened when they are needed.

    A connection is tried before it is used, so that a server that was restarted, replaced, or
    made to take no changes costs nobody an error once there is one that does.  Raises
    InvalidConfiguration for a URL that libpq does not understand.
    """
    import psycopg
    from psycopg.types.string import StrDumper

    class Text(StrDumper):
        """PostgreSQL's text has no NUL: what comes from outside with one is stored without it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    # libpq reads the URL, so everything that it can do works: several hosts, TLS, services.
    _, given = connection_arguments(url, "gpukeeper")

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(url, autocommit=True, **given)
        try:
            check_writable(connection.execute(GREETING, LIMITS).fetchone())
        except psycopg.Error:
            connection.close()
            raise
        connection.autocommit = False
        connection.adapters.register_dumper(str, Text)
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        # What is stored must not be quoted in the message of an error, and so in a log.
        hide_parameters=True,
        execution_options={ORIGIN: secrets.token_hex(6)},
    )
    event.listen(engine, "handle_error", _quote_no_values)
    event.listen(engine, "handle_error", _leave_broken)
    event.listen(engine, "connect", _mark_new)
    event.listen(engine, "checkout", _leave_read_only)
    event.listen(engine, "checkin", _leave_mode_to_server)
    return engine


def check_writable(answer: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return what a server has answered.

    Raises psycopg.OperationalError when its first word is that it takes no changes.
    """
    import psycopg

    if answer is None or answer[0]:
        raise psycopg.OperationalError(outages.FENCED)
    return answer


def _mark_new(connection: Any, record: Any) -> None:
    record.info[_IS_NEW] = True


def _leave_read_only(connection: Any, record: Any, _: object) -> None:
    """Leave a connection that is lost, or whose server has come to take no changes, and all others.

    Nobody reads from a server that was left behind, either: what is written elsewhere is not there.
    """
    import psycopg

    if record.info.pop(_IS_NEW, False):
        return
    try:
        connection.autocommit = True
        check_writable(connection.execute(_IS_READ_ONLY).fetchone())
        connection.autocommit = False
    except psycopg.Error as error:
        raise InvalidatePoolError(outages.database_message(error)) from error


def _leave_mode_to_server(connection: Any, record: object) -> None:
    """Say neither READ ONLY nor READ WRITE from now on: the latter overrides a server's fence.

    SQLAlchemy resets what a reader has set to READ WRITE, and not to what the server says.
    """
    if connection is not None and not connection.closed:
        connection.read_only = None


def _leave_broken(context: ExceptionContext) -> None:
    """Let go of every connection to a server that is going, or takes no changes any more."""
    if outages.is_connection_lost(context.original_exception):
        context.is_disconnect = True


def _quote_no_values(context: ExceptionContext) -> None:
    """Leave out the details of an error: PostgreSQL quotes in them what was to be stored."""
    import psycopg

    error, shown = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error) and error.diag.message_primary and shown is not None:
        error.args = (error.diag.message_primary,)
        shown.args = (f"({type(error).__name__}) {error.diag.message_primary}",)


def database_identity(connection: Connection) -> str:
    """Return what tells this database from any other, of this server or another."""
    return str(
        connection.scalar(
            text(
                "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid"
                " FROM pg_database WHERE datname = current_database()"
            )
        )
    )


def read_only_engine(engine: Engine) -> Engine:
    """Return an engine on the same connections whose transactions see one snapshot."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def connection_arguments(url: str, application: str) -> tuple[str, dict[str, Any]]:
    """Return what psycopg is to be called with; the limits come with the greeting.

    Raises InvalidConfiguration for a URL that libpq does not understand.
    """
    import psycopg

    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # Of anything else than a parameter's name it may quote the password.
        words = outages.database_message(error)
        reason = words if "query parameter" in words else "libpq does not understand it"
        message = f"cannot be used: {reason}"
        raise InvalidConfiguration([Fault("GPUKEEPER_DATABASE_URL", message)]) from None
    return url, _missing(connection_parameters(application), given)


def shares_sessions(engine: Engine) -> bool:
    """Whether a pooler lends the server's sessions to others between two transactions.

    Then what is set for a session is lost, and what is listened to is not heard.
    Raises StoreError.
    """
    with engine.connect() as mine:
        one: psycopg.Connection[Any] = mine.connection.dbapi_connection  # type: ignore[assignment]  # SQLAlchemy knows no drivers
        # A pooler names a process of its own invention to whoever connects.
        if one.info.backend_pid == _process(one):
            return False
        with engine.connect() as theirs:
            other: psycopg.Connection[Any] = theirs.connection.dbapi_connection  # type: ignore[assignment]  # as above
            return any(_is_lent(one, other) for _ in range(_LOANS))


# A pooler lends the session that was given back last, as a rule; by then it has lent each once.
_LOANS = 5


def _is_lent(one: "psycopg.Connection[Any]", other: "psycopg.Connection[Any]") -> bool:
    """Whether a session of the first connection goes to the other, or is exchanged meanwhile."""
    before = _process(one)
    with other.transaction():
        # Asked first: a pooler with one session has none left for the first connection.
        return _process(other, ends=False) == before or _process(one) != before


def _process(connection: "psycopg.Connection[Any]", *, ends: bool = True) -> int:
    """Return the server's process that answers, in a transaction that ends or is under way."""
    row = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    if ends:
        connection.rollback()
    assert row is not None
    return int(row[0])


def is_retriable(error: Exception) -> bool:
    """Whether a transaction failed only because of others beside it, or of its server's role."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") in _BEGIN_AGAIN


def may_come_back(error: Exception) -> bool:
    """Whether a server that could not be connected to may be there in a while."""
    text = str(error)
    return "FATAL" not in text or any(words in text for words in _SOON)


def is_postgres(connection: Connection) -> bool:
    """Whether a unit runs on PostgreSQL."""
    return connection.dialect.name == "postgresql"


def _missing(ours: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ours.items() if name not in given}
