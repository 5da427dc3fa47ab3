"""Idempotency keys: stored in the transaction that stores the order they stand for."""

from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select

from gpukeeper.domain.errors import KeyReused
from gpukeeper.store.tables import idempotency_keys


def instance_of(connection: Connection, key: str, body_hash: str) -> str | None:
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


def keep(connection: Connection, key: str, body_hash: str, instance_id: str, now: datetime) -> None:
    """Store that this key ordered this instance."""
    values = {"key": key, "body_hash": body_hash, "instance_id": instance_id, "at": now}
    connection.execute(insert(idempotency_keys), values)


# Built once: building a statement takes longer than SQLite takes to run it.
_FIND = select(idempotency_keys).where(idempotency_keys.c.key == bindparam("wanted"))
