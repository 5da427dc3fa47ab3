"""Which errors of a database mean that it cannot work at present, and what to say of them."""

import sqlite3

from sqlalchemy.exc import DBAPIError

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


def sentence_of(error: BaseException) -> str | None:
    """Return what keeps the database from working; None for an error of another kind."""
    if not isinstance(error, DBAPIError):
        return None
    code = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else _SENTENCES.get(code & _PRIMARY_CODE)
