"""The statements that find what is due of each receiver, however long the queue of one of them."""

from typing import Any

from sqlalchemy import CTE, Select, bindparam, case, func, select, true

from gpukeeper.store import leases
from gpukeeper.store.leases import NOW
from gpukeeper.store.tables import IS_PENDING, deliveries

# Leaves out what waits for another delivery of its lane; written so that the index is used.
_IS_TIMED = (IS_PENDING, deliveries.c.due_at.is_not(None))


def due_per_receiver() -> Select[Any]:
    """Return the statement for the ids and receivers of deliveries to claim.

    Those to ``prompt`` receivers come first; of these and of the others, the first of every
    receiver comes before the second of any, longest due first.  Its parameters are ``now``,
    ``prompt``, ``per_receiver`` (at most so many of each) and ``limit`` (at most so many in all).
    """
    receivers = _receivers()
    share = (
        select(deliveries.c.number)
        .where(
            deliveries.c.receiver == receivers.c.receiver,
            *_IS_TIMED,
            deliveries.c.due_at <= NOW,
            leases.is_free(deliveries),
        )
        .order_by(deliveries.c.due_at, deliveries.c.number)
        .limit(bindparam("per_receiver"))
        .correlate(receivers)
    )
    taken = deliveries.alias("taken")
    age = (taken.c.due_at, taken.c.number)
    place = func.row_number().over(partition_by=taken.c.receiver, order_by=age)
    is_prompt = taken.c.receiver.in_(bindparam("prompt", expanding=True))
    return (
        select(taken.c.id, taken.c.receiver)
        .join_from(receivers, taken, taken.c.number.in_(share))
        .order_by(case((is_prompt, 0), else_=1), place, *age)
        .limit(bindparam("limit"))
    )


def due_per_receiver_lateral() -> Select[Any]:
    """Return the same statement for PostgreSQL, which would run the other once for each pair."""
    receivers = _receivers()
    share = (
        select(deliveries.c.id, deliveries.c.receiver, deliveries.c.due_at, deliveries.c.number)
        .where(
            deliveries.c.receiver == receivers.c.receiver,
            *_IS_TIMED,
            deliveries.c.due_at <= NOW,
            leases.is_free(deliveries),
        )
        .order_by(deliveries.c.due_at, deliveries.c.number)
        .limit(bindparam("per_receiver"))
        .lateral("share")
    )
    age = (share.c.due_at, share.c.number)
    place = func.row_number().over(partition_by=share.c.receiver, order_by=age)
    is_prompt = share.c.receiver.in_(bindparam("prompt", expanding=True))
    return (
        select(share.c.id, share.c.receiver)
        .join_from(receivers, share, true())
        .order_by(case((is_prompt, 0), else_=1), place, *age)
        .limit(bindparam("limit"))
    )


def next_due(*, is_prompt_only: bool) -> Select[Any]:
    """Return the statement for when the next delivery is due that nobody works on.

    Its parameters are ``now``, ``full`` (receivers that are left out) and, if it is about prompt
    receivers only, ``prompt``.
    """
    receivers = _receivers()
    due_at = (
        select(deliveries.c.due_at)
        .where(
            deliveries.c.receiver == receivers.c.receiver, *_IS_TIMED, leases.is_free(deliveries)
        )
        .order_by(deliveries.c.due_at)
        .limit(1)
        .correlate(receivers)
        .scalar_subquery()
    )
    first = select(func.min(due_at)).where(
        receivers.c.receiver.not_in(bindparam("full", expanding=True))
    )
    if not is_prompt_only:
        return first
    return first.where(receivers.c.receiver.in_(bindparam("prompt", expanding=True)))


def _receivers() -> CTE:
    """Walk the index from one receiver to the next: one step each, whatever waits behind it."""
    first = select(func.min(deliveries.c.receiver).label("receiver")).where(*_IS_TIMED)
    receivers = first.cte("receivers", recursive=True)
    following = select(func.min(deliveries.c.receiver)).where(
        *_IS_TIMED, deliveries.c.receiver > receivers.c.receiver
    )
    return receivers.union_all(
        select(following.scalar_subquery()).where(receivers.c.receiver.is_not(None))
    )
