"""Single facts about the deployment: its mark in Novita's names, and its last look at Novita."""

import json
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, insert, select, update

from gpukeeper.store.tables import facts

_DEPLOYMENT = "deployment"
_LOOK = "look"
_TOUCHED = "touched"


@dataclass(frozen=True, slots=True)
class Looks:
    """How looking at Novita goes.

    ``seen_at`` is when the last complete listing was asked for, ``tried_at`` when the last look
    ended, well or not; ``error`` is what went wrong with it.  ``vanished`` is how many machines
    were missing from a listing too poor to be believed, ``vanished_since`` when that began.
    Before ``not_before`` Novita does not want to be asked again.
    """

    seen_at: datetime | None = None
    tried_at: datetime | None = None
    error: str | None = None
    vanished: int = 0
    vanished_since: datetime | None = None
    not_before: datetime | None = None


def deployment(connection: Connection, proposed: str) -> str:
    """Return this deployment's mark; ``proposed`` becomes it if there is none yet."""
    known = _read(connection, _DEPLOYMENT)
    if known is not None:
        return str(json.loads(known))
    _write(connection, _DEPLOYMENT, json.dumps(proposed))
    return proposed


def looks(connection: Connection) -> Looks:
    """Return how the last looks went."""
    known = _read(connection, _LOOK)
    return Looks() if known is None else _looks.validate_json(known)


def keep_looks(connection: Connection, value: Looks) -> None:
    """Store how the last look went."""
    _write(connection, _LOOK, _looks.dump_json(value).decode())


def touch(connection: Connection, now: datetime) -> None:
    """Store the time, for no other reason than to see that something can be stored."""
    _write(connection, _TOUCHED, json.dumps(now.isoformat()))


_looks = TypeAdapter(Looks)

# Built once: building a statement takes longer than SQLite takes to run it.
_READ = select(facts.c.body).where(facts.c.key == bindparam("wanted"))


def _read(connection: Connection, key: str) -> str | None:
    return connection.scalar(_READ, {"wanted": key})


def _write(connection: Connection, key: str, body: str) -> None:
    changed = connection.execute(update(facts).where(facts.c.key == key).values(body=body))
    if changed.rowcount == 0:
        connection.execute(insert(facts).values(key=key, body=body))
