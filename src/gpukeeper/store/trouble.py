"""Which errors of a database mean that it cannot work at present, and what to say of them."""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

# By SQLite's primary result code. They come from the disk or from other processes, and end without
# a restart once those do.
_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened",
    sqlite3.SQLITE_READONLY: "the disk cannot be written to",
}
_PRIMARY_CODE = 0xFF
_READ_ONLY = "25006"
# Of PostgreSQL, by the beginning of its code; without any, nothing has answered.
_OF_POSTGRES = {
    "53100": "the database's disk is full",
    "53": "the database has no room for another connection",
    "55P03": "the database is busy",
    "57014": "the database is too slow",
    "40": "the database is busy",
    _READ_ONLY: "the database cannot be written to while it fails over",
    "": "the database cannot be reached",
}


def sentence_of(error: BaseException) -> str | None:
    """Return what keeps the database from working; None for an error of another kind."""
    if isinstance(error, NoConnection):
        return "the database is too slow"
    if not isinstance(error, DBAPIError):
        return None
    # Told apart without the driver, which only those import who use PostgreSQL.
    if hasattr(error.orig, "sqlstate"):
        return _sentence_of_postgres(error, getattr(error.orig, "sqlstate", None) or "")
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else _SENTENCES.get(code & _PRIMARY_CODE)


def _sentence_of_postgres(error: DBAPIError, code: str) -> str | None:
    if code != _READ_ONLY and not isinstance(error, OperationalError | InterfaceError):
        return None
    return next(text for start, text in _OF_POSTGRES.items() if code.startswith(start))
