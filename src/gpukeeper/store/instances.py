"""The units of work on instances: insert, find, claim, and change with event and deliveries.

The row's JSON body is the instance; the columns beside it are what SQL asks about.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from gpukeeper.domain.costs import rate_of
from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.machines import SpotSignal
from gpukeeper.domain.wakeups import find_wakeups
from gpukeeper.store import instance_record, leases
from gpukeeper.store.db import notify
from gpukeeper.store.db.chunks import CHUNK_SIZE, chunks
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.leases import HELD, NOW, Lease
from gpukeeper.store.outbox import Origin, Outbox, command_trace
from gpukeeper.store.tables import COSTS_NOW, instances

Fold = Callable[[Instance], Instance]


class DueQueue(Enum):
    """Which rows are meant: orders that are not sold yet, all others, or both."""

    ORDERS = "orders"
    MACHINES = "machines"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What a look needs to know of a row to see whether anything changed."""

    id: str
    novita_id: str
    status: Status
    seen_fingerprint: str | None


def add(
    connection: Connection,
    instance: Instance,
    seal: EnvsCipher,
    outbox: Outbox,
    *,
    lease: Lease | None = None,
) -> None:
    """Insert an instance that was just ordered, claimed by ``lease``, with its first event."""
    fixed: dict[str, Any] = {
        "id": instance.id,
        "name": instance.order.name,
        "novita_name": instance.novita_name,
        "sealed_envs": seal.close(instance.order.envs, row=instance.id),
    }
    if lease is not None:
        fixed |= {"lease_token": lease.token, "lease_until": lease.until}
    connection.execute(insert(instances), fixed | _changing(instance))
    ordered = Change(None, instance, instance.created_at)
    outbox.record_all(connection, [ordered])
    wakes = find_wakeups(ordered, is_held=lease is not None)
    notify.notify(connection, wakes, instance_ids=[instance.id])


def find(connection: Connection, instance_id: str) -> Instance | None:
    """Return the instance with our id or Novita's id, without its environment values."""
    row = connection.execute(_FIND, {"wanted": instance_id}).first()
    return parse_row(row) if row else None


def read_envs(connection: Connection, instance_id: str, seal: EnvsCipher) -> dict[str, str]:
    """Return the environment values that were ordered; the one way to them."""
    sealed = connection.execute(_SEALED_ENVS, {"row_id": instance_id}).scalar_one()
    return seal.open(sealed, row=instance_id)


def change(
    connection: Connection,
    instance_id: str,
    fold: Fold,
    now: datetime,
    outbox: Outbox,
    *,
    lease_token: str | None = None,
    is_over: Callable[[Instance], bool] = lambda row: False,
    origin: Origin = command_trace,
) -> Change:
    """Fold something into one row as :func:`change_all` does, and return what came of it."""
    (done,) = change_all(
        connection,
        {instance_id: fold},
        now,
        outbox,
        lease_token=lease_token,
        is_over=is_over,
        origin=origin,
    )
    return done


def change_all(
    connection: Connection,
    folds: Mapping[str, Fold],
    now: datetime,
    outbox: Outbox,
    *,
    lease_token: str | None = None,
    is_over: Callable[[Instance], bool] = lambda row: False,
    origin: Origin = command_trace,
) -> list[Change]:
    """Fold something into the freshest rows (id -> fold) and store what came of it, if anything.

    The rows, their events and their deliveries are stored together, in the order of their ids: all
    lock rows in that order, so that none waits for another that waits for it.  Whatever was stored
    since the caller read a row is kept, since its fold works on the row as it is now.  ``origin``
    says of which work a change came.  A row that is held is given back if ``is_over`` says of it,
    as it is then, that the work on it is.  Returns one change per row, also of those that stay as
    they are.  Raises LeaseLost when a row is gone, or when ``lease_token`` is given and no longer
    holds all of them.
    """
    done = [
        Change(before, folds[row_id](before), now)
        for row_id, before in _freshest(connection, sorted(folds), lease_token)
    ]
    changed = [each for each in done if each.after != each.before]
    for is_given_back in (False, True):
        lease = leases.NO_LEASE if is_given_back else {}
        rows = [
            {"row_id": each.after.id} | _changing(each.after) | lease
            for each in changed
            if is_over(each.after) is is_given_back
        ]
        if rows:
            connection.execute(_UPDATE, rows)
    if changed:
        outbox.record_all(connection, changed, origin)
        is_held = lease_token is not None
        wakes = {wake for each in changed for wake in find_wakeups(each, is_held=is_held)}
        notify.notify(connection, wakes, instance_ids=[each.after.id for each in changed])
    if lease_token is not None:
        for each in done:
            if each.after == each.before and is_over(each.after):
                leases.release(connection, instances, each.after.id, lease_token)
    return done


def claim(
    connection: Connection,
    now: datetime,
    limit: int,
    lease: Lease,
    *,
    kind: DueQueue = DueQueue.ALL,
    on_unreadable: Callable[[str, str], None] | None = None,
) -> list[Instance]:
    """Lease the rows that are due, longest waiting first, and return them.

    ``on_unreadable`` is told the id of a row whose body is not an instance, and why; such a row
    is leased and left out, so that it holds up nobody else.  Without it, the error is raised.
    """
    rows = connection.execute(_DUE[kind], {NOW.key: now, "limit": limit}).all()
    claimed: list[Instance] = []
    for row in rows:
        try:
            claimed.append(parse_row(row))
        except ValidationError as error:
            if on_unreadable is None:
                raise
            on_unreadable(row.id, _faults(error))
    if rows:
        leases.take(connection, instances, [row.id for row in rows], lease)
    return claimed


def next_due_at(
    connection: Connection, now: datetime, *, kind: DueQueue = DueQueue.ALL
) -> datetime | None:
    """Return when the next row wants attention that nobody works on."""
    due_at: datetime | None = connection.scalar(_NEXT_DUE_AT[kind], {NOW.key: now})
    return due_at


def count_due(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """Return how many rows are due that nobody works on, and since when the oldest is."""
    row = connection.execute(_WAITING, {NOW.key: now}).one()
    return row[0], row[1]


def list_sweep_rows(connection: Connection) -> list[SweepRow]:
    """Return every row whose machine may exist at Novita, as briefly as a look needs it."""
    # In portions, so that a large fleet is not held twice.
    portions = connection.execute(_WATCHED).partitions(CHUNK_SIZE)
    return [SweepRow(row[0], row[1], Status(row[2]), row[3]) for rows in portions for row in rows]


def list_unsettled_ids(connection: Connection) -> list[str]:
    """Return the ids of the rows that want attention, or whose machine may exist at Novita."""
    due = instances.c.due_at.is_not(None)
    return list(connection.scalars(select(instances.c.id).where(or_(due, and_(*_IS_WATCHED)))))


def count_by_status(connection: Connection) -> dict[Status, int]:
    """Return how many instances are in each status that occurs."""
    rows = connection.execute(_COUNT_BY_STATUS).all()
    return {Status(status): count for status, count in rows}


def count_refused(connection: Connection) -> int:
    """Return how many orders failed with nothing bought, so that they never cost anything."""
    return connection.scalar(select(func.count()).select_from(instances).where(IS_REFUSED)) or 0


def count_notified(connection: Connection) -> int:
    """Return how many machines Novita has said that it takes back, and has not taken yet."""
    return connection.scalar(select(func.count()).select_from(instances).where(IS_NOTIFIED)) or 0


def sum_spend_per_hour(connection: Connection) -> Decimal:
    """Return the USD per hour of all machines, as each row's last change left them."""
    micro = connection.scalar(_SPEND)
    return Decimal(micro or 0) / 1_000_000


def find_by_novita_names(
    connection: Connection, novita_names: Sequence[str]
) -> dict[str, Instance]:
    """Return the instances whose machines have exactly these names at Novita, by name."""
    found: dict[str, Instance] = {}
    for some in chunks(novita_names):
        rows = connection.execute(
            select(instances.c.novita_name, instances.c.body).where(
                instances.c.novita_name.in_(some)
            )
        )
        found |= {row.novita_name: parse_row(row) for row in rows}
    return found


def find_known_novita_ids(connection: Connection, novita_ids: Sequence[str]) -> set[str]:
    """Return which of these ids at Novita belong to a row of ours."""
    known: set[str] = set()
    for some in chunks(novita_ids):
        known |= set(
            connection.scalars(select(instances.c.novita_id).where(instances.c.novita_id.in_(some)))
        )
    return known


def find_gone(connection: Connection, novita_ids: Sequence[str]) -> dict[str, str]:
    """Return the rows (id -> Novita's id) that hold these machines to be gone."""
    ended: dict[str, str] = {}
    for some in chunks(novita_ids):
        rows = connection.execute(
            select(instances.c.id, instances.c.novita_id).where(
                instances.c.novita_id.in_(some), instances.c.gone_at.is_not(None)
            )
        )
        ended |= {row.id: row.novita_id for row in rows}
    return ended


# As many rows as a page may have; some 4 kB each.
_PARSED = 1_000

# Built once: building a statement takes longer than SQLite takes to run it.
_FIND: Select[Any] = select(instances.c.body).where(
    or_(
        instances.c.id == bindparam("wanted"),
        instances.c.novita_id == bindparam("wanted"),
    )
)
_SEALED_ENVS = select(instances.c.sealed_envs).where(instances.c.id == bindparam("row_id"))
_COUNT_BY_STATUS = select(instances.c.status, func.count()).group_by(instances.c.status)
_FRESHEST = (
    select(instances.c.id, instances.c.body)
    .where(instances.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(instances.c.id)
    .with_for_update()
)
_FRESHEST_HELD = _FRESHEST.where(leases.is_held(instances))
_OF_KIND: dict[DueQueue, ColumnElement[bool]] = {
    DueQueue.ORDERS: instances.c.status == Status.REQUESTED.value,
    DueQueue.MACHINES: instances.c.status != Status.REQUESTED.value,
    DueQueue.ALL: true(),
}
_DUE = {
    kind: select(instances.c.id, instances.c.body)
    .where(instances.c.due_at <= NOW, leases.is_free(instances), is_meant)
    .order_by(instances.c.due_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
    for kind, is_meant in _OF_KIND.items()
}
_NEXT_DUE_AT = {
    kind: select(instances.c.due_at)
    .where(instances.c.due_at.is_not(None), leases.is_free(instances), is_meant)
    .order_by(instances.c.due_at)
    .limit(1)
    for kind, is_meant in _OF_KIND.items()
}
_WAITING = select(func.count(), func.min(instances.c.due_at)).where(
    instances.c.due_at <= NOW, leases.is_free(instances)
)
_SPEND = select(func.sum(instances.c.micro_usd_now)).where(COSTS_NOW)
_IS_WATCHED = (instances.c.novita_id.is_not(None), instances.c.gone_at.is_(None))
# While a purchase or a machine too many has not been cleared up, the row has something due.
IS_REFUSED = and_(
    instances.c.status == Status.FAILED.value,
    instances.c.novita_id.is_(None),
    instances.c.due_at.is_(None),
)
# A program before this column, in a rolling upgrade, leaves it behind when a machine ends.
IS_NOTIFIED = and_(
    instances.c.spot_notice.is_not(None),
    instances.c.status.in_([Status.CREATING.value, Status.STARTING.value, Status.RUNNING.value]),
)
_WATCHED = select(
    instances.c.id, instances.c.novita_id, instances.c.status, instances.c.seen_fingerprint
).where(*_IS_WATCHED)
_UPDATE = update(instances).where(instances.c.id == bindparam("row_id"))


def _freshest(
    connection: Connection, ids: Sequence[str], lease_token: str | None
) -> Iterator[tuple[str, Instance]]:
    """Give rows as they are now; nobody changes them before this transaction ends."""
    statement = _FRESHEST if lease_token is None else _FRESHEST_HELD
    # Nobody asks for what many rows were before: they must not push out what is asked for.
    parse = _parsed if len(ids) == 1 else instance_record.parse
    for some in chunks(ids):
        rows = connection.execute(statement, {"ids": some, HELD.key: lease_token}).all()
        if len(rows) < len(some):
            raise LeaseLost
        for row in rows:
            yield row.id, parse(row.body)


def _changing(instance: Instance) -> dict[str, Any]:
    """Return the columns that a change may change; setting the others costs index writes."""
    bare = instance
    if instance.order.envs:
        # They have a sealed column of their own and never enter the body.
        bare = replace(instance, order=replace(instance.order, envs={}))
    return {
        "novita_id": instance.machine.novita_id,
        "status": instance.status.value,
        "seen_fingerprint": instance.watch.seen_fingerprint,
        "micro_usd_per_hour": _micro(instance.machine.price_per_hour),
        "micro_usd_now": _micro(rate_of(instance).total),
        "spot_notice": SpotSignal.NOTIFIED.value if instance.has_reclaim_notice else None,
        "gone_at": instance.machine.gone_at,
        "due_at": instance.due_at,
        "body": instance_record.dump(bare),
    }


def _micro(amount: Decimal | None) -> int | None:
    return None if amount is None else round(amount * 1_000_000)


def parse_row(row: Any) -> Instance:
    """Return the instance that a row's body holds."""
    return _parsed(row.body)


# A row is read far more often than it changes, and parsing it is most of what reading it costs.
_parsed = lru_cache(_PARSED)(instance_record.parse)


def _faults(error: ValidationError) -> str:
    """Return what is wrong with a body, without what it holds."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
