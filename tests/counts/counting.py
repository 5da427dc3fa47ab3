"""Counts what something costs: calls to Novita, statements, and commits that wrote something."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

from tests.engine.rig import Rig

_READS = ("SELECT", "WITH")
_WRITES = ("INSERT", "UPDATE", "DELETE")


@dataclass(slots=True)
class Counts:
    """What was counted."""

    novita_calls: int = 0
    reads: int = 0
    writes: int = 0
    commits: int = 0


@contextmanager
def counting(rig: Rig) -> Iterator[Counts]:
    """Count what happens in the block; a commit that wrote nothing costs nothing."""
    counts = Counts()
    written: set[int] = set()

    def note(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        word = statement.lstrip().split(None, 1)[0].upper()
        counts.reads += word in _READS
        if word in _WRITES:
            counts.writes += 1
            written.add(id(connection))

    def commit(connection: Connection) -> None:
        counts.commits += id(connection) in written
        written.discard(id(connection))

    before = len(rig.world.journal.requests())
    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", commit)
    try:
        yield counts
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        event.remove(Engine, "commit", commit)
    counts.novita_calls = len(rig.world.journal.requests()) - before
