"""Pages of instances, as many callers ask for again and again."""

from collections.abc import Collection
from datetime import datetime, timedelta

from gpukeeper.domain.instances import Status
from gpukeeper.service.views import CachedPage, Page, decode_cursor
from gpukeeper.store import facts, pagination
from gpukeeper.store.db.database import Database

# An instance in any other status is over and done with.
CURRENT = frozenset(Status) - {Status.DELETED, Status.LOST}


async def read_page(
    database: Database,
    *,
    statuses: Collection[Status],
    is_current: bool,
    name: str | None,
    limit: int,
    cursor: str | None,
    now: datetime,
    patience: timedelta | None,
) -> Page:
    """Return instances, newest first; ``is_current`` leaves out those that have ended.

    Refused orders have ended, too.  Raises InvalidOrder for a bad cursor.
    """
    before = decode_cursor(cursor)
    meant = tuple(sorted(CURRENT if is_current else statuses))
    found = await database.read_kept(
        ("page", meant, is_current, name, before, limit),
        lambda connection: CachedPage(
            *pagination.list_page(
                connection,
                statuses=meant,
                has_refused=False if is_current else None,
                name=name,
                before=before,
                limit=limit,
            ),
            facts.find_state(connection),
        ),
        size=limit,
    )
    return found.page(now, patience=patience)
