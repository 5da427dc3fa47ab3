"""Machines at Novita that may be ours and that no row of ours knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, insert, select, update

from gpukeeper.domain.machines import Observation
from gpukeeper.store.db.upsert import insert_if_absent
from gpukeeper.store.tables import orphans


@dataclass(frozen=True, slots=True)
class Orphan:
    """A machine that costs money and that nobody here ordered, as Novita last showed it."""

    machine: Observation
    first_seen_at: datetime
    last_seen_at: datetime


def record_listing(
    connection: Connection, machines: Sequence[Observation], now: datetime
) -> list[Observation]:
    """Store the orphans of a complete listing, and return those that were not known.

    Those that are not in it any more are forgotten.
    """
    known = set(connection.scalars(select(orphans.c.novita_id)))
    seen = {machine.novita_id for machine in machines}
    for machine in machines:
        body = _adapter.dump_json(machine).decode()
        if machine.novita_id in known:
            connection.execute(
                update(orphans)
                .where(orphans.c.novita_id == machine.novita_id)
                .values(last_seen_at=now, body=body)
            )
        else:
            connection.execute(
                insert(orphans).values(
                    novita_id=machine.novita_id, first_seen_at=now, last_seen_at=now, body=body
                )
            )
    for novita_id in known - seen:
        connection.execute(delete(orphans).where(orphans.c.novita_id == novita_id))
    return [machine for machine in machines if machine.novita_id not in known]


def record(connection: Connection, machine: Observation, now: datetime) -> None:
    """Store one more orphan, unless it is known."""
    body = _adapter.dump_json(machine).decode()
    row = {"novita_id": machine.novita_id, "first_seen_at": now, "last_seen_at": now, "body": body}
    connection.execute(insert_if_absent(connection, orphans), row)


def list_all(connection: Connection) -> list[Orphan]:
    """Return all orphans, longest known first."""
    rows = connection.execute(
        select(orphans).order_by(orphans.c.first_seen_at, orphans.c.novita_id)
    )
    return [_orphan(row) for row in rows]


def find(connection: Connection, novita_id: str) -> Orphan | None:
    """Return one orphan."""
    row = connection.execute(select(orphans).where(orphans.c.novita_id == novita_id)).first()
    return _orphan(row) if row else None


def remove(connection: Connection, novita_id: str) -> Orphan | None:
    """Remove an orphan and return it; of several who take the same, one gets it."""
    taken = delete(orphans).where(orphans.c.novita_id == novita_id).returning(orphans)
    row = connection.execute(taken).first()
    return _orphan(row) if row else None


_adapter = TypeAdapter(Observation)


def _orphan(row: Row[Any]) -> Orphan:
    return Orphan(_adapter.validate_json(row.body), row.first_seen_at, row.last_seen_at)
