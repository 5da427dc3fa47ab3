"""PostgreSQL: how it is connected to, so that no failure of it is waited for without end.

Its driver takes 9 MB, and is imported by what uses it: most stores are SQLite files.
"""

import secrets
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError

# Two transactions that want each other's rows: one of them is told to begin again.
_BEGIN_AGAIN = frozenset({"40001", "40P01"})
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
# How long a unit waits for a connection of the pool.
_POOL_SECONDS = 10
# The execution option that says which process a connection belongs to.
ORIGIN = "gpukeeper_origin"


def parameters(application: str) -> dict[str, Any]:
    """Return what every connection is opened with; the URL's own parameters win."""
    limits = " ".join(f"-c {name}={value}" for name, value in _LIMITS_MS.items())
    return {
        "application_name": application,
        "connect_timeout": _CONNECT_SECONDS,
        "options": limits,
        **_TCP,
    }


def open_engine(url: str, *, connections: int) -> Engine:
    """Return an engine with so many connections at most, opened when they are needed.

    A connection is tried before it is used, so that a server that was restarted or replaced
    costs nobody an error once it is back.
    """
    import psycopg
    from psycopg.types.string import StrDumper

    class Text(StrDumper):
        """PostgreSQL's text has no NUL: what comes from outside with one is stored without it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    given = psycopg.conninfo.conninfo_to_dict(url)

    def connect() -> psycopg.Connection[Any]:
        # libpq reads the URL, so everything that it can do works: several hosts, TLS, services.
        connection = psycopg.connect(url, **_missing(parameters("gpukeeper"), given))
        connection.adapters.register_dumper(str, Text)
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        pool_pre_ping=True,
        # What is stored must not be quoted in the message of an error, and so in a log.
        hide_parameters=True,
        execution_options={ORIGIN: secrets.token_hex(6)},
    )
    event.listen(engine, "handle_error", _quote_no_values)
    return engine


def _quote_no_values(context: ExceptionContext) -> None:
    """Leave out the details of an error: PostgreSQL quotes in them what was to be stored."""
    import psycopg

    error, shown = context.original_exception, context.sqlalchemy_exception
    if isinstance(error, psycopg.Error) and error.diag.message_primary and shown is not None:
        error.args = (error.diag.message_primary,)
        shown.args = (f"({type(error).__name__}) {error.diag.message_primary}",)


def reading(engine: Engine) -> Engine:
    """Return an engine on the same connections whose transactions see one snapshot."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def connection_of(url: str, application: str) -> tuple[str, dict[str, Any]]:
    """Return what psycopg is to be called with for a connection beside the engine's."""
    import psycopg

    given = psycopg.conninfo.conninfo_to_dict(url)
    return url, _missing(parameters(application), given)


def may_begin_again(error: Exception) -> bool:
    """Whether a transaction failed only because of others that ran beside it."""
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
