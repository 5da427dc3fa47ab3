"""The units of work on instances: insert, find, list, claim, and change with event and deliveries.

The row's JSON body is the instance; the columns beside it are what SQL asks about.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Select, bindparam, func, insert, or_, select, update

from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.events import Change
from gpukeeper.domain.instance import Instance, Status
from gpukeeper.store import leases
from gpukeeper.store.leases import Lease
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.sealing import Seal
from gpukeeper.store.tables import instances

_adapter = TypeAdapter(Instance)

Fold = Callable[[Instance], Instance]


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look needs to know of a row to see whether anything changed."""

    id: str
    novita_id: str
    status: Status
    seen_fingerprint: str | None


def add(connection: Connection, instance: Instance, seal: Seal, outbox: Outbox) -> None:
    """Insert an instance that was just ordered, with its first event."""
    envs = seal.close(instance.order.envs, row=instance.id)
    connection.execute(insert(instances).values(**_columns(instance), sealed_envs=envs))
    outbox.record(connection, Change(None, instance, instance.created_at))


def find(connection: Connection, instance_id: str) -> Instance | None:
    """Return the instance with our id or Novita's id, without its environment values."""
    row = connection.execute(_FIND, {"wanted": instance_id}).first()
    return _instance(row) if row else None


def envs_of(connection: Connection, instance_id: str, seal: Seal) -> dict[str, str]:
    """Return the environment values that were ordered; the one way to them."""
    sealed = connection.scalar(select(instances.c.sealed_envs).where(instances.c.id == instance_id))
    return seal.open(sealed, row=instance_id)


def change(
    connection: Connection,
    instance_id: str,
    fold: Fold,
    now: datetime,
    outbox: Outbox,
    *,
    lease_token: str | None = None,
) -> Change:
    """Fold something into the freshest row and store what came of it, if anything did.

    The row, its event and its deliveries are stored together.  Whatever was stored since the
    caller read the row is kept, since ``fold`` works on the row as it is now.  Raises LeaseLost
    when ``lease_token`` is given and no longer holds the row.
    """
    statement = select(instances.c.body).where(instances.c.id == instance_id).with_for_update()
    if lease_token is not None:
        statement = statement.where(leases.is_held(instances, lease_token))
    row = connection.execute(statement).first()
    if row is None:
        raise LeaseLost
    before = _instance(row)
    after = fold(before)
    done = Change(before, after, now)
    if after != before:
        connection.execute(_UPDATE, {"row_id": instance_id, **_columns(after)})
        outbox.record(connection, done)
    return done


def claim(connection: Connection, now: datetime, limit: int, lease: Lease) -> list[Instance]:
    """Lease the rows that are due, longest waiting first, and return them."""
    rows = connection.execute(
        select(instances.c.body)
        .where(instances.c.due_at <= now, leases.is_free(instances, now))
        .order_by(instances.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    claimed = [_instance(row) for row in rows]
    if claimed:
        leases.take(connection, instances, [instance.id for instance in claimed], lease)
    return claimed


def next_due_at(connection: Connection, now: datetime) -> datetime | None:
    """Return when the next row wants attention that nobody works on."""
    due_at: datetime | None = connection.scalar(
        select(func.min(instances.c.due_at)).where(leases.is_free(instances, now))
    )
    return due_at


def watched(connection: Connection) -> list[Watched]:
    """Return every row whose machine may exist at Novita, as briefly as a look needs it."""
    rows = connection.execute(_WATCHED).all()
    return [Watched(row[0], row[1], Status(row[2]), row[3]) for row in rows]


def count_by_status(connection: Connection) -> dict[Status, int]:
    """Return how many instances are in each status that occurs."""
    rows = connection.execute(
        select(instances.c.status, func.count()).group_by(instances.c.status)
    ).all()
    return {Status(status): count for status, count in rows}


def spend_per_hour(connection: Connection) -> Decimal:
    """Return the USD per hour of all machines that run or may run at Novita."""
    micro = connection.scalar(
        select(func.sum(instances.c.micro_usd_per_hour)).where(
            *_IS_WATCHED, instances.c.status.not_in(_AT_REST)
        )
    )
    return Decimal(micro or 0) / 1_000_000


def names_of_unfinished(connection: Connection) -> set[str]:
    """Return the names at Novita of orders whose machine is not known yet."""
    rows = connection.scalars(
        select(instances.c.novita_name).where(
            instances.c.novita_id.is_(None), instances.c.status != Status.DELETED.value
        )
    )
    return set(rows)


def known_machines(connection: Connection, novita_ids: Sequence[str]) -> set[str]:
    """Return which of these ids at Novita belong to a row of ours."""
    rows = connection.scalars(
        select(instances.c.novita_id).where(instances.c.novita_id.in_(novita_ids))
    )
    return {novita_id for novita_id in rows if novita_id}


def page(
    connection: Connection,
    *,
    status: Status | None,
    name: str | None,
    before: int | None,
    limit: int,
) -> tuple[list[Instance], int, int | None]:
    """Return instances newest first, how many there are, and where the next page begins.

    ``name`` is a part of the name, case folded; ``before`` is where a page before ended.
    """
    conditions = []
    if status is not None:
        conditions.append(instances.c.status == status.value)
    if name is not None:
        conditions.append(func.lower(instances.c.name).contains(name.lower(), autoescape=True))
    total = connection.scalar(select(func.count()).select_from(instances).where(*conditions)) or 0
    if before is not None:
        conditions.append(instances.c.number < before)
    rows = connection.execute(
        select(instances.c.body, instances.c.number)
        .where(*conditions)
        .order_by(instances.c.number.desc())
        .limit(limit + 1)
    ).all()
    shown = rows[:limit]
    following = shown[-1].number if len(rows) > limit else None
    return [_instance(row) for row in shown], total, following


_FIND: Select[Any] = select(instances.c.body).where(
    or_(
        instances.c.id == bindparam("wanted"),
        instances.c.novita_id == bindparam("wanted"),
    )
)
# A machine that is stopped costs its disk alone (API notes §7).
_AT_REST = (Status.STOPPED.value, Status.RECLAIMED.value)
_IS_WATCHED = (instances.c.novita_id.is_not(None), instances.c.gone_at.is_(None))
_WATCHED = select(
    instances.c.id, instances.c.novita_id, instances.c.status, instances.c.seen_fingerprint
).where(*_IS_WATCHED)
_COLUMNS = (
    "id",
    "name",
    "novita_name",
    "novita_id",
    "status",
    "seen_fingerprint",
    "micro_usd_per_hour",
    "gone_at",
    "due_at",
    "body",
)
_UPDATE = (
    update(instances)
    .where(instances.c.id == bindparam("row_id"))
    .values({column: bindparam(column) for column in _COLUMNS})
)


def _columns(instance: Instance) -> dict[str, Any]:
    # Environment values have a sealed column of their own and never enter the body.
    bare = replace(instance, order=replace(instance.order, envs={}))
    return {
        "id": instance.id,
        "name": instance.order.name,
        "novita_name": instance.novita_name,
        "novita_id": instance.novita_id,
        "status": instance.status.value,
        "seen_fingerprint": instance.seen_fingerprint,
        "micro_usd_per_hour": _micro(instance.price_per_hour),
        "gone_at": instance.gone_at,
        "due_at": instance.due_at,
        "body": _adapter.dump_json(bare).decode(),
    }


def _micro(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount * 1_000_000)


def _instance(row: Any) -> Instance:
    return _adapter.validate_json(row.body)
