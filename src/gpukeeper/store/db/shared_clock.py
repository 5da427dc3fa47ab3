"""The database's time: one clock for all processes that share it, whatever their own ones say.

Leases and due times are compared with each other although several machines have written them.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from gpukeeper.store import facts
from gpukeeper.store.tables import events

# Built once: building a statement takes longer than SQLite takes to run it.
_NEWEST_EVENT = select(events.c.at).order_by(events.c.number.desc()).limit(1)


def newest_time(connection: Connection) -> datetime | None:
    """Return the latest time that is known to have been: of the last look, or of the last event."""
    known = (facts.find_state(connection).tried_at, connection.scalar(_NEWEST_EVENT))
    return max((at for at in known if at is not None), default=None)


class SharedClock:
    """Tells the database's time by this machine's steady clock since it was last asked.

    ``steady`` returns seconds that never jump.  Until it is set, it tells ``begin``.
    """

    def __init__(self, begin: datetime, *, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._anchor = (begin, steady())

    def __call__(self) -> datetime:
        """Return the time."""
        at, since = self._anchor
        return at + timedelta(seconds=self._steady() - since)

    def ask(self) -> float:
        """Return when the database is asked, to be told to :meth:`set` with its answer."""
        return self._steady()

    def set(self, at: datetime, *, asked: float) -> None:
        """Take over the database's time, which it told at some moment since it was asked.

        The middle is the best guess, and wrong by half of the time that the answer took.
        """
        answered = self._steady()
        self._anchor = (at, (asked + answered) / 2)
