"""Who held which row when: the store itself writes down every change of a lease."""

from collections.abc import Collection, Mapping, Sequence
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
    holder text NOT NULL,
    at timestamptz NOT NULL
);
CREATE FUNCTION watching.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO watching.changes (row_id, token, holder, at) VALUES (
        TG_TABLE_NAME || ' ' || NEW.id,
        NEW.lease_token,
        current_setting('application_name'),
        clock_timestamp()
    );
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE OF lease_token ON instances FOR EACH ROW
    WHEN (OLD.lease_token IS DISTINCT FROM NEW.lease_token) EXECUTE FUNCTION watching.note();
CREATE TRIGGER note AFTER UPDATE OF lease_token ON deliveries FOR EACH ROW
    WHEN (OLD.lease_token IS DISTINCT FROM NEW.lease_token) EXECUTE FUNCTION watching.note();
"""
_CHANGES: LiteralString = """
SELECT row_id, token, holder, at FROM watching.changes ORDER BY row_id, number
"""
_DUE: LiteralString = """
SELECT 'instances ' || id FROM instances WHERE due_at IS NOT NULL
UNION ALL SELECT 'deliveries ' || id FROM deliveries WHERE due_at IS NOT NULL
"""
_HELD: LiteralString = """
SELECT count(*) FROM (
    SELECT DISTINCT ON (row_id) token, holder FROM watching.changes ORDER BY row_id, number DESC
) AS latest WHERE token IS NOT NULL AND holder = %s
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A row as a change of its lease left it; ``token`` is None when it was given back."""

    row_id: str
    token: str | None
    holder: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Inheritance:
    """A row that somebody held who was killed, and after how many seconds another took it.

    ``seconds`` is None if nobody ever did, which is right unless it ``is_due``: others have seen
    by a look that what was asked for is done, and nothing is left to do.
    """

    row_id: str
    holder: str
    seconds: float | None
    is_due: bool = False


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
            row = connection.execute(_HELD, [holder]).fetchone()
        return row is not None and row[0] > 0

    def inheritances(self, killed_at: Mapping[str, datetime]) -> list[Inheritance]:
        """Return what became of the rows of those who were killed at these times."""
        with psycopg.connect(self.url) as connection:
            changes = [Held(*row) for row in connection.execute(_CHANGES)]
            due = {row_id for (row_id,) in connection.execute(_DUE)}
        return inherited(changes, killed_at, due)


def inherited(
    changes: Sequence[Held], killed_at: Mapping[str, datetime], due: Collection[str]
) -> list[Inheritance]:
    """Return what became of the rows of the dead; ``changes`` are by row, oldest first.

    A dead process changes nothing more, so what it had last it held when it was killed.  ``due``
    are the rows on which there is something left to do.
    """
    return [
        Inheritance(
            held.row_id,
            held.holder,
            None if heir is None else (heir.at - killed_at[held.holder]).total_seconds(),
            is_due=heir is None and held.row_id in due,
        )
        for _, chain in groupby(changes, key=lambda change: change.row_id)
        for held, heir in pairwise([*chain, None])
        if held is not None
        and held.token is not None
        and held.holder in killed_at
        and (heir is None or heir.holder != held.holder)
    ]
