"""Who held which row when: the store itself writes down every lease and due time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import LiteralString

import psycopg

# A process names itself in its URL, and a trigger sees that name whoever the process is.
_WATCH: LiteralString = """
CREATE SCHEMA watching;
CREATE TABLE watching.changes (
    number bigserial PRIMARY KEY,
    row_id text NOT NULL,
    token text,
    due_at timestamptz,
    holder text NOT NULL,
    at timestamptz NOT NULL
);
CREATE FUNCTION watching.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watching.changes (row_id, token, due_at, holder, at) VALUES (
        TG_TABLE_NAME || ' ' || NEW.id,
        NEW.lease_token,
        to_timestamp(NEW.due_at / 1000000.0),
        current_setting('application_name'),
        clock_timestamp()
    );
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE OF lease_token, due_at ON instances FOR EACH ROW
    WHEN ((OLD.lease_token, OLD.due_at) IS DISTINCT FROM (NEW.lease_token, NEW.due_at))
    EXECUTE FUNCTION watching.note();
CREATE TRIGGER note AFTER UPDATE OF lease_token, due_at ON deliveries FOR EACH ROW
    WHEN ((OLD.lease_token, OLD.due_at) IS DISTINCT FROM (NEW.lease_token, NEW.due_at))
    EXECUTE FUNCTION watching.note();
"""
_CHANGES: LiteralString = """
SELECT row_id, token, due_at, holder, at FROM watching.changes ORDER BY row_id, number
"""
_IS_AT_WORK: LiteralString = """
SELECT count(*) FROM (
    SELECT lease_token FROM instances UNION ALL SELECT lease_token FROM deliveries
) AS held WHERE lease_token IN (
    SELECT token FROM watching.changes WHERE holder = %s ORDER BY number DESC LIMIT 20
)
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A row as one change left it: whose it was (None: nobody's), and when it was due."""

    row_id: str
    token: str | None
    due_at: datetime | None
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Inheritance:
    """A row that somebody held who was killed, and what became of it.

    ``waited`` are the seconds for which there was something to do on it and nobody did: from the
    kill, or from when it was due if that was later, until another took it.  It is None if
    nobody ever did, which is right unless it ``is_due``: others have seen by a look that what
    was asked for is done.  ``history`` is all that was done to it since the dead one took it.
    """

    row_id: str
    holder: str
    waited: float | None
    is_due: bool = False
    since_kill: float | None = None
    history: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class Ledger:
    """The changes of leases in the database at ``url``."""

    url: str

    def open(self) -> None:
        """Begin to write them down."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(_WATCH)

    def named(self, holder: str) -> str:
        """Return the URL by which a process is known as this holder."""
        return f"{self.url}{'&' if '?' in self.url else '?'}application_name={holder}"

    def now(self) -> datetime:
        """Return the time of what is written down here."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        assert row is not None
        at: datetime = row[0]
        return at

    def is_at_work(self, holder: str) -> bool:
        """Whether a process holds any row."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(_IS_AT_WORK, [holder]).fetchone()
        return row is not None and row[0] > 0

    def inheritances(self, killed_at: Mapping[str, datetime]) -> list[Inheritance]:
        """Return what became of the rows of those who were killed at these times."""
        with psycopg.connect(self.url) as connection:
            changes = [Held(*row) for row in connection.execute(_CHANGES)]
        return inherited(changes, killed_at)


def inherited(changes: Sequence[Held], killed_at: Mapping[str, datetime]) -> list[Inheritance]:
    """Return what became of the rows of the dead; ``changes`` are by row, oldest first.

    A dead process changes nothing more, so what it had last it held when it was killed.
    """
    holdings: list[tuple[Held, ...]] = [
        tuple(holding)
        for _, holding in groupby(changes, key=lambda change: (change.row_id, change.token))
    ]
    return [
        _inheritance(holding, following, killed_at[holding[0].by])
        for holding, following in pairwise([*holdings, ()])
        if holding[0].token is not None
        and holding[0].by in killed_at
        and not (_is_same_row(holding, following) and following[0].by == holding[0].by)
    ]


def _inheritance(
    holding: tuple[Held, ...], following: tuple[Held, ...], killed_at: datetime
) -> Inheritance:
    """Return what became of a row after the changes of one holding of it."""
    first, last = holding[0], holding[-1]
    if not _is_same_row(holding, following):
        is_due = last.due_at is not None
        return Inheritance(first.row_id, first.by, None, is_due, history=holding)
    taken = following[0]
    owed_at = max(killed_at, last.due_at or killed_at)
    return Inheritance(
        first.row_id,
        first.by,
        (taken.at - owed_at).total_seconds(),
        since_kill=(taken.at - killed_at).total_seconds(),
        history=(*holding, taken),
    )


def _is_same_row(holding: tuple[Held, ...], following: tuple[Held, ...]) -> bool:
    return bool(following) and following[0].row_id == holding[0].row_id
