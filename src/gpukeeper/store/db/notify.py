"""What a transaction on PostgreSQL tells the other processes, and the order that events get.

SQLite has one writer at a time, and processes beside it that poll: nothing here does anything.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Connection, Text, bindparam, func, select

from gpukeeper.domain.wakeups import LoopName
from gpukeeper.store.db.postgres import ORIGIN, is_postgres

CHANNEL = "gpukeeper"

# What events are numbered under; any number that no other lock of ours has.
_EVENTS_LOCK = 0x67_70_75_01
# What migrations run under.
MIGRATIONS_LOCK = 0x67_70_75_02


@dataclass(frozen=True, slots=True)
class NotifyPayload:
    """One message to the other processes: the loops to wake, and the instance that has changed."""

    origin: str
    loops: frozenset[LoopName]
    instance_id: str | None


def notify(
    connection: Connection, loops: Collection[LoopName], *, instance_ids: Sequence[str] = ()
) -> None:
    """Tell every process which loops to wake and which instances changed, once this is committed.

    One message for each instance, since a message is short; the first of them names the loops.
    """
    if not is_postgres(connection):
        return
    origin = connection.get_execution_options().get(ORIGIN, "")
    first, *others = instance_ids or (None,)
    messages = [[origin, sorted(loops), first], *([origin, [], other] for other in others)]
    connection.execute(_NOTIFY, {"messages": [json.dumps(message) for message in messages]})


def parse_payload(payload: str) -> NotifyPayload:
    """Return what was told; words of a newer version are left out.

    Raises ValueError for what is not ours.
    """
    try:
        origin, words, instance_id = json.loads(payload)
        known = {loop.value for loop in LoopName}
        loops = frozenset(LoopName(word) for word in words if word in known)
    except TypeError as error:
        raise ValueError("no signal") from error
    return NotifyPayload(origin, loops, instance_id)


def lock_event_numbers(connection: Connection) -> None:
    """Let events get their numbers in the order of their commits, whichever process stores them.

    A reader that goes by number then never passes one that is still to be committed.  Held to
    the end of the transaction, so rows of instances are to be locked before.
    """
    if is_postgres(connection):
        connection.execute(_LOCK, {"lock": _EVENTS_LOCK})


# Built once: building a statement takes longer than the database takes to run it.
_MESSAGES = bindparam("messages", type_=ARRAY(Text))
_NOTIFY = select(func.pg_notify(CHANNEL, func.unnest(_MESSAGES)))
_LOCK = select(func.pg_advisory_xact_lock(bindparam("lock")))
