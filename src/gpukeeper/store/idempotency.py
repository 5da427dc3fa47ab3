"""Idempotency keys: stored in the transaction that stores the order they stand for."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, select, update

from gpukeeper.domain.errors import KeyReused
from gpukeeper.domain.lifecycle.purchases import is_safe_to_repeat
from gpukeeper.store import instances
from gpukeeper.store.db.upsert import insert_if_absent
from gpukeeper.store.tables import idempotency_keys


def find_instance_id(connection: Connection, key: str, body_hash: str) -> str | None:
    """Return the id of the instance that this key ordered, or None for a new key.

    Raises KeyReused when the key came with another body before.
    """
    row = connection.execute(_FIND, {"wanted": key}).first()
    if row is None:
        return None
    if row.body_hash != body_hash:
        raise KeyReused
    instance_id: str = row.instance_id
    return instance_id


def record(
    connection: Connection, key: str, body_hash: str, instance_id: str, now: datetime
) -> str | None:
    """Store that this key orders this instance, or return which one it has ordered before.

    An order that failed for a temporary reason and bought nothing gives its key to this one.
    Of several that keep the same key at the same time, one does and the others wait for it.
    Raises KeyReused when the key came with another body.
    """
    values = {"key": key, "body_hash": body_hash, "instance_id": instance_id, "at": now}
    keeping = insert_if_absent(connection, idempotency_keys).returning(idempotency_keys.c.key)
    if connection.scalar(keeping, values) is not None:
        return None
    known = find_instance_id(connection, key, body_hash)
    found = instances.find(connection, known) if known is not None else None
    if found is None or not is_safe_to_repeat(found):
        return known
    given = {"wanted": key, "failed_id": found.id, "new_id": instance_id, "kept_at": now}
    if connection.scalar(_GIVE, given) is not None:
        return None
    # Another one was given it since we read it.
    return find_instance_id(connection, key, body_hash)


def repoint(connection: Connection, key: str, instance_id: str) -> None:
    """Have a key stand for an instance: it has ordered that one before the store forgot it."""
    connection.execute(_POINT, {"wanted": key, "new_id": instance_id})


# Built once: building a statement takes longer than SQLite takes to run it.
_FIND = select(idempotency_keys).where(idempotency_keys.c.key == bindparam("wanted"))
_GIVE = (
    update(idempotency_keys)
    .where(
        idempotency_keys.c.key == bindparam("wanted"),
        idempotency_keys.c.instance_id == bindparam("failed_id"),
    )
    .values(instance_id=bindparam("new_id"), at=bindparam("kept_at"))
    .returning(idempotency_keys.c.key)
)
_POINT = (
    update(idempotency_keys)
    .where(idempotency_keys.c.key == bindparam("wanted"))
    .values(instance_id=bindparam("new_id"))
)
