"""Inserting what another process may insert at the same time; both databases spell it alike."""

from typing import Any

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


def insert_if_absent(connection: Connection, table: Table) -> Insert:
    """Return a statement that inserts a row unless there is one with its key."""
    statement: Insert = _INSERT[connection.dialect.name](table).on_conflict_do_nothing()
    return statement


def upsert(connection: Connection, table: Table, *, column: str) -> Insert:
    """Return a statement that inserts a row, or gives its key's row this column's new value."""
    insert = _INSERT[connection.dialect.name](table)
    statement: Insert = insert.on_conflict_do_update(
        index_elements=list(table.primary_key), set_={column: insert.excluded[column]}
    )
    return statement
