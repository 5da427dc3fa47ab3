"""Single facts about the deployment: its mark, schema, looks at Novita, duties of one process."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from pydantic import TypeAdapter
from sqlalchemy import Connection, bindparam, select, update

from gpukeeper.domain.errors import LeaseLost, StoreRestored
from gpukeeper.store.db.upsert import insert_if_absent, upsert
from gpukeeper.store.leases import Lease
from gpukeeper.store.tables import facts

# Clocks of several processes differ by less; a clock that goes back by more was set.
SKEW = timedelta(seconds=10)

_DEPLOYMENT = "deployment"
_BORN_AT = "born_at"
_ACCOUNT = "account"
_HOME = "home"
_WORLD = "world"
# How many complete looks a restored store still needs; a backup is born with it.
RESTORED_KEY = "restored"

# So many complete looks show all that was bought since a backup was made: Novita's listing may lag
# behind once.
SWEEPS_AFTER_RESTORE = 2
_AGREED = "agreed:"
_LOOK = "look"
_SCHEMA = "schema"
_TOUCHED = "touched"
_REMOVED_TO = "removed_to"


class Singleton(Enum):
    """What one process at a time does for all that share the database."""

    LOOK = "looking"
    REMOVE = "removing"


@dataclass(frozen=True, slots=True)
class SweepState:
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


@dataclass(frozen=True, slots=True)
class Schema:
    """Which schema this is, the oldest program that works on it, and the version that made it.

    Older programs read this: what it is called and how it is stored never changes.
    """

    revision: str
    oldest_program: str
    version: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whose a store is: Novita's address, and salted digests of keys of one account.

    ``hint`` is what a person knows the last key by.
    """

    novita: str
    salt: str
    keys: tuple[str, ...]
    hint: str


def ensure_mark(connection: Connection, proposed: str) -> str:
    """Return this deployment's mark; ``proposed`` becomes it if there is none yet."""
    return str(json.loads(_kept(connection, _DEPLOYMENT, json.dumps(proposed))))


def find_mark(connection: Connection) -> str | None:
    """Return this deployment's mark; None in a store that was just made."""
    known = _read(connection, _DEPLOYMENT)
    return None if known is None else str(json.loads(known))


def find_birth(connection: Connection) -> datetime | None:
    """Return when this store was made; None for one that is older than this question."""
    known = _read(connection, _BORN_AT)
    return None if known is None else datetime.fromisoformat(json.loads(known))


def record_birth(connection: Connection, now: datetime) -> None:
    """Store when this store was made; the first time counts."""
    _kept(connection, _BORN_AT, json.dumps(now.isoformat()))


def find_account(connection: Connection) -> Account | None:
    """Return whose the store is; None for one that nobody has been asked of yet."""
    known = _read(connection, _ACCOUNT)
    return None if known is None else _account.validate_json(known)


def store_account(connection: Connection, value: Account) -> None:
    """Store whose the store is."""
    body = _account.dump_json(value).decode()
    connection.execute(upsert(connection, facts, column="body"), _row(_ACCOUNT, body))


def count_sweeps_to_go(connection: Connection) -> int:
    """Return how many complete looks a restored store needs before it takes orders; mostly 0."""
    known = _read(connection, RESTORED_KEY)
    return 0 if known is None else int(json.loads(known))


def record_restore(connection: Connection) -> None:
    """Have the store take no orders until Novita was looked at."""
    _keep_looks_to_go(connection, SWEEPS_AFTER_RESTORE)


def record_complete_sweep(connection: Connection) -> bool:
    """Count a complete look, and return whether the store takes orders from now on."""
    to_go = count_sweeps_to_go(connection)
    if to_go:
        _keep_looks_to_go(connection, to_go - 1)
    return to_go == 1


def accept_orders(connection: Connection) -> None:
    """Have a restored store take orders at once."""
    _keep_looks_to_go(connection, 0)


def check_takes_orders(connection: Connection) -> None:
    """Raise StoreRestored while the store takes no orders."""
    if count_sweeps_to_go(connection):
        raise StoreRestored


def record_home(connection: Connection, home: str) -> bool:
    """Whether the store is elsewhere than at its last start; ``home`` is kept."""
    known = _kept(connection, _HOME, json.dumps(home))
    if known == json.dumps(home):
        return False
    row = _row(_HOME, json.dumps(home))
    connection.execute(upsert(connection, facts, column="body"), row)
    return True


def find_simulated_world(connection: Connection) -> str | None:
    """Return which simulated world was seen last; None where none was."""
    known = _read(connection, _WORLD)
    return None if known is None else str(json.loads(known))


def record_first_world(connection: Connection, value: str | None) -> None:
    """Store which simulated world was seen, unless one was before; None is none."""
    if value is not None:
        _kept(connection, _WORLD, json.dumps(value))


def replace_world(connection: Connection, value: str) -> None:
    """Store which simulated world was seen."""
    row = _row(_WORLD, json.dumps(value))
    connection.execute(upsert(connection, facts, column="body"), row)


def agree_on(connection: Connection, name: str, value: str) -> bool:
    """Whether all processes on this database have the same value; the first one's is kept."""
    return _kept(connection, f"{_AGREED}{name}", json.dumps(value)) == json.dumps(value)


def find_schema(connection: Connection) -> Schema | None:
    """Return what the program that made the schema has said of it."""
    known = _read(connection, _SCHEMA)
    return None if known is None else _schema.validate_json(known)


def store_schema(connection: Connection, value: Schema) -> None:
    """Store what is to be known of the schema."""
    body = _schema.dump_json(value).decode()
    connection.execute(upsert(connection, facts, column="body"), _row(_SCHEMA, body))


def find_state(connection: Connection) -> SweepState:
    """Return how the last looks went."""
    known = _read(connection, _LOOK)
    return SweepState() if known is None else _looks.validate_json(known)


def store_state(connection: Connection, value: SweepState) -> None:
    """Store how the last look went."""
    body = _looks.dump_json(value).decode()
    connection.execute(upsert(connection, facts, column="body"), _row(_LOOK, body))


def take(connection: Connection, duty: Singleton, now: datetime, lease: Lease) -> datetime | None:
    """Take a duty, or keep the one that is held under this token until the lease's new end.

    Returns until when another process has it, or None when it is ours.
    """
    _kept(connection, duty.value, _lease.dump_json(None).decode())
    held = _held(connection, duty)
    # One that is held for longer than any lease lasts was taken under a wrong clock, not under
    # that of another process, which is a little ahead of ours.
    if held is not None and held.token != lease.token and now < held.until <= lease.until + SKEW:
        return held.until
    _set_lease(connection, duty, lease)
    return None


def renew(connection: Connection, duty: Singleton, lease: Lease) -> None:
    """Keep a duty until the lease's new end.  Raises LeaseLost."""
    check(connection, duty, lease.token)
    _set_lease(connection, duty, lease)


def check(connection: Connection, duty: Singleton, token: str) -> None:
    """Raise LeaseLost unless this token still has the duty; nobody takes it meanwhile."""
    held = _held(connection, duty)
    if held is None or held.token != token:
        raise LeaseLost


def release(connection: Connection, duty: Singleton) -> None:
    """Give a duty back."""
    _set_lease(connection, duty, None)


def find_removed_to(connection: Connection) -> int:
    """Return the number of the newest event that was removed; all after it are kept."""
    known = _read(connection, _REMOVED_TO)
    return 0 if known is None else int(json.loads(known))


def record_removed(connection: Connection, number: int) -> None:
    """Store that the event of this number was removed; the duty to remove must be held."""
    body = json.dumps(max(number, find_removed_to(connection)))
    connection.execute(upsert(connection, facts, column="body"), _row(_REMOVED_TO, body))


def touch(connection: Connection, now: datetime) -> None:
    """Store the time, for no other reason than to see that something can be stored."""
    body = json.dumps(now.isoformat())
    connection.execute(upsert(connection, facts, column="body"), _row(_TOUCHED, body))


_looks = TypeAdapter(SweepState)
_schema = TypeAdapter(Schema)
_account = TypeAdapter(Account)
_lease: TypeAdapter[Lease | None] = TypeAdapter(Lease | None)

# Built once: building a statement takes longer than SQLite takes to run it.
_READ = select(facts.c.body).where(facts.c.key == bindparam("wanted"))
_READ_LOCKED = _READ.with_for_update()
_SET = update(facts).where(facts.c.key == bindparam("wanted"))


def _keep_looks_to_go(connection: Connection, count: int) -> None:
    row = _row(RESTORED_KEY, json.dumps(count))
    connection.execute(upsert(connection, facts, column="body"), row)


def _row(key: str, body: str) -> dict[str, str]:
    return {"key": key, "body": body}


def _read(connection: Connection, key: str) -> str | None:
    return connection.scalar(_READ, {"wanted": key})


def _kept(connection: Connection, key: str, proposed: str) -> str:
    """Return a fact; it becomes what is proposed if there is none yet."""
    known = _read(connection, key)
    if known is None:
        connection.execute(insert_if_absent(connection, facts), _row(key, proposed))
        known = _read(connection, key)
    assert known is not None
    return known


def _held(connection: Connection, duty: Singleton) -> Lease | None:
    body = connection.scalar(_READ_LOCKED, {"wanted": duty.value})
    return _lease.validate_json(body or "null")


def _set_lease(connection: Connection, duty: Singleton, lease: Lease | None) -> None:
    body = _lease.dump_json(lease).decode()
    connection.execute(_SET, {"wanted": duty.value, "body": body})
