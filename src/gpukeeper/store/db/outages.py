"""Which errors of a database mean that it cannot work at present, and what to say of them."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

_NO_LOCKS = "its file system has no locks that work: keep it on a local disk"
# By SQLite's result code, the whole one first. They come from the disk or from other processes, and
# end without a restart once those do.
_SENTENCES = {
    sqlite3.SQLITE_IOERR_LOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_RDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_UNLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMOPEN: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMMAP: _NO_LOCKS,
    sqlite3.SQLITE_PROTOCOL: _NO_LOCKS,
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
    sqlite3.SQLITE_PERM: "the database cannot be opened",
    sqlite3.SQLITE_READONLY: "the disk cannot be written to",
    sqlite3.SQLITE_NOLFS: "its file system takes no file as large as the database",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a database, or is damaged: restore a backup",
}
_PRIMARY_CODE = 0xFF
# One place of the file may be unreadable and another not: that the latter works proves nothing.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR})

_READ_ONLY = "25006"
# What a standby says of a transaction that is to write; the code alone says too little.
_UNSUPPORTED, _ON_STANDBY = "0A000", "during recovery"
_GONE = ("08", "57P01", "57P02", "57P03", "57P04", "25P03", "25P04")
# What libpq says of a server, and we, that is there and takes no changes.
FENCED = "the server takes no changes: it was fenced, or is a standby"
_NO_CHANGES = ("session is read-only", FENCED)
_FAILS_OVER = "the database cannot be written to while it fails over"
_AWAY = "the database cannot be reached"
# Of PostgreSQL, by the beginning of its code.
_OF_POSTGRES = {
    "53100": "the database's disk is full",
    "53": "the database has no room for another connection",
    "55P03": "the database is busy",
    "57014": "the database is too slow",
    "40": "the database is busy",
    "58": "the database's disk cannot be read or written",
    "XX001": "the database is damaged: restore a backup",
    "XX002": "the database is damaged: restore a backup",
    _READ_ONLY: _FAILS_OVER,
    **dict.fromkeys(_GONE, _AWAY),
}
# What libpq puts around the words of a server, or of the system, for each address that it tried.
_AROUND = re.compile(
    r"^- host: .*?': (?=\w)|connection failed: |connection is bad: |"
    r"connection to server .*? failed: |FATAL: +|ERROR: +|"
    r"Is the server running .*$|Multiple connection attempts failed\. .*$"
)
_MOST_WORDS = 200  # characters: what a server says in one sentence


def describe_outage(error: BaseException) -> str | None:
    """Return what keeps the database from working; None for an error of another kind."""
    if isinstance(error, NoConnection):
        return "the database is too slow"
    if not isinstance(error, DBAPIError):
        return None
    # Told apart without the driver, which only those import who use PostgreSQL.
    if hasattr(error.orig, "sqlstate"):
        sentence = _sentence_of_postgres(error)
        words = database_message(error)
        return f"{sentence} ({words})" if sentence and words else sentence
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else _SENTENCES.get(code, _SENTENCES.get(code & _PRIMARY_CODE))


def is_locked(error: BaseException) -> bool:
    """Whether another process holds a SQLite file, and may be done with it in a while."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return bool(code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY)


def is_damage(error: BaseException | None) -> bool:
    """Whether a SQLite file cannot be read in some place: another place that can proves nothing."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return (
        code is not None and _SENTENCES.get(code) != _NO_LOCKS and code & _PRIMARY_CODE in _DAMAGE
    )


def is_connection_lost(error: BaseException) -> bool:
    """Whether an error of PostgreSQL's driver ends the use of its connection.

    Its server is going, or has become one that takes no changes: the next server is to be found.
    """
    code = getattr(error, "sqlstate", None) or ""
    is_standby = code == _UNSUPPORTED and _ON_STANDBY in str(error)
    return code == _READ_ONLY or code.startswith(_GONE) or is_standby


def database_message(error: BaseException) -> str:
    """Return what the database, or the way to it, has said, in one line without any address.

    It never names a password.
    """
    if isinstance(error, SQLAlchemyError):
        error = getattr(error, "orig", None) or error
    said = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    lines = [" ".join(_AROUND.sub("", line).split()) for line in said.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line))[:_MOST_WORDS]


def _sentence_of_postgres(error: DBAPIError) -> str | None:
    code = getattr(error.orig, "sqlstate", None) or ""
    if error.orig is not None and is_connection_lost(error.orig) and not code.startswith(_GONE):
        return _FAILS_OVER
    known = (text for start, text in _OF_POSTGRES.items() if code.startswith(start))
    if not code and any(words in str(error.orig) for words in _NO_CHANGES):
        return _FAILS_OVER
    # Without a code nothing has answered, or the server has refused the connection.
    is_about_connection = isinstance(error, OperationalError | InterfaceError)
    return next(known, _AWAY if is_about_connection else None)
