"""The statement that finds what is due of each URL, however long the queue of one of them is."""

from typing import Any

from sqlalchemy import CTE, Select, bindparam, func, select

from gpukeeper.store import leases
from gpukeeper.store.leases import NOW
from gpukeeper.store.tables import IS_PENDING, deliveries

_IS_DUE = (IS_PENDING, deliveries.c.due_at <= NOW)


def due_per_url() -> Select[Any]:
    """Return the statement for the ids and URLs of deliveries to claim, longest due first.

    The first of every URL comes before the second of any.  Its parameters are ``now``,
    ``per_url`` (at most so many of one URL) and ``limit`` (at most so many in all).
    """
    urls = _urls_with_some_due()
    share = (
        select(deliveries.c.number)
        .where(deliveries.c.url == urls.c.url, *_IS_DUE, leases.is_free(deliveries))
        .order_by(deliveries.c.due_at, deliveries.c.number)
        .limit(bindparam("per_url"))
        .correlate(urls)
    )
    taken = deliveries.alias("taken")
    age = (taken.c.due_at, taken.c.number)
    place = func.row_number().over(partition_by=taken.c.url, order_by=age)
    return (
        select(taken.c.id, taken.c.url)
        .join_from(urls, taken, taken.c.number.in_(share))
        .order_by(place, *age)
        .limit(bindparam("limit"))
    )


def _urls_with_some_due() -> CTE:
    """Walk the index from one URL to the next: one step each, whatever waits behind it."""
    first = select(func.min(deliveries.c.url).label("url")).where(*_IS_DUE)
    urls = first.cte("urls", recursive=True)
    following = select(func.min(deliveries.c.url)).where(*_IS_DUE, deliveries.c.url > urls.c.url)
    return urls.union_all(select(following.scalar_subquery()).where(urls.c.url.is_not(None)))
