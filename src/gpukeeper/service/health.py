"""How the service is: whether it can serve, which loops live, and how Novita answers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gpukeeper.contract.serialization import format_time
from gpukeeper.domain.clock_trust import PATIENCE
from gpukeeper.domain.costs import rate_of_orphan
from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.instances import Status
from gpukeeper.store import deliveries, facts, instances, migrations, orphans
from gpukeeper.store.db.database import Connection, Database, StoreError
from gpukeeper.store.db.outages import database_message
from gpukeeper.store.deliveries import Undelivered
from gpukeeper.store.orphans import Orphan

# One rotation of the log and SQLite's journal fit in well, so the service is taken out of its load
# balancer before its writes begin to fail.
MIN_FREE_BYTES = 32 * 1024 * 1024
_MIB = 1024 * 1024

# For so long a webhook that was given up is something to look at.
RECENT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When a background loop last turned, and how long it may be silent."""

    loop: str
    beat_at: datetime | None
    max_silence: timedelta
    is_running: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """How much room there is for what is kept under a name; None where nobody can tell."""

    name: str
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the process knows of itself; ``clock_ahead`` is how far its clock is not believed."""

    heartbeats: tuple[Heartbeat, ...] = ()
    disks: tuple[Disk, ...] = ()
    clock_ahead: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service is ready; ``problems`` says in sentences what is not."""

    is_ready: bool
    problems: tuple[str, ...]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queue:
    """How many rows are due that nobody works on, and since when the oldest of them is."""

    due: int
    oldest_due_at: datetime | None

    def waits(self, now: datetime) -> float:
        """Return the age of the oldest in seconds; 0 where nothing waits."""
        return (now - (self.oldest_due_at or now)).total_seconds()


@dataclass(frozen=True, slots=True)
class Queues:
    """How many deliveries are pending, and since when the oldest due row waits, by queue.

    An age is in seconds, and 0 where nothing waits.
    """

    deliveries_pending: int
    oldest_due_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Census:
    """How many instances and orphans there are, and what all of them cost in USD per hour.

    ``vanished`` is how many machines a listing lacked that was too poor to be believed,
    ``refused`` how many orders failed with nothing bought.  ``notified`` is how many machines
    Novita has said that it takes back; ``undelivered`` are the webhooks that were given up lately.
    """

    by_status: Mapping[Status, int]
    spend_per_hour: Decimal
    orphans: int
    queues: Queues
    vanished: int = 0
    refused: int = 0
    notified: int = 0
    undelivered: Undelivered = field(default_factory=Undelivered)


def spend_per_hour(connection: Connection) -> Decimal:
    """Return the USD per hour of everything that Novita bills now, orphans included."""
    nobodys = (rate_of_orphan(orphan.machine).total for orphan in orphans.list_all(connection))
    return instances.sum_spend_per_hour(connection) + sum(nobodys, Decimal(0))


def take_census(connection: Connection, now: datetime) -> Census:
    """Count, in the store alone."""
    counts = instances.count_by_status(connection)
    return Census(
        by_status={status: counts.get(status, 0) for status in Status},
        spend_per_hour=spend_per_hour(connection),
        orphans=len(orphans.list_all(connection)),
        queues=_measure_queues(connection, now),
        vanished=facts.find_state(connection).vanished,
        refused=instances.count_refused(connection),
        notified=instances.count_notified(connection),
        undelivered=deliveries.count_undelivered(connection, now - RECENT),
    )


def _measure_queues(connection: Connection, now: datetime) -> Queues:
    return Queues(
        deliveries_pending=deliveries.count_pending(connection)[0],
        oldest_due_seconds={
            name: queue.waits(now) for name, queue in _queues(connection, now).items()
        },
    )


def _queues(connection: Connection, now: datetime) -> dict[str, Queue]:
    return {
        "instances": Queue(*instances.count_due(connection, now)),
        "deliveries": Queue(*deliveries.count_due(connection, now)),
    }


async def examine_health(
    database: Database,
    vitals: Vitals,
    now: datetime,
    *,
    about: dict[str, Any],
    is_brief: bool = False,
    patience_seconds: float = 2.0,
) -> Health:
    """Return how the service is; ``about`` (version, role) is shown with it.

    What is brief says whether the service is ready and counts nothing, so that it may be asked
    for every second.  A database that takes longer than the patience is not ready.
    """
    problems = [sentence for beat in vitals.heartbeats if (sentence := _silence(beat, now))]
    problems += [sentence for disk in vitals.disks if (sentence := _lack(disk))]
    trouble = await database.trouble(lambda connection: facts.touch(connection, now))
    if trouble is not None:
        problems.insert(0, trouble)
    body: dict[str, Any] = {**about}

    def look(connection: Connection) -> tuple[str | None, dict[str, Any]]:
        complaint = migrations.complaint(connection)
        if complaint is not None:
            return complaint, {}
        return _restored(connection), {} if is_brief else _summary(connection, now)

    try:
        async with asyncio.timeout(patience_seconds):
            complaint, summary = await database.read(look)
        body |= summary
        problems += [complaint] if complaint else []
    except TimeoutError:
        problems.append(f"the database has not answered for {patience_seconds:g} s")
    except StoreUnavailable as error:
        problems.append(error.message)
    except StoreError as error:
        problems.append(f"the database cannot be read: {database_message(error)}")
    # What could not be written could not be read either, and is said once.
    problems = list(dict.fromkeys(problems))
    body["loops"] = [
        {"name": beat.loop, "lastTurnAt": format_time(beat.beat_at)} for beat in vitals.heartbeats
    ]
    body["disks"] = [{"name": disk.name, "freeBytes": disk.free_bytes} for disk in vitals.disks]
    body["clock"] = _clock(vitals.clock_ahead)
    body |= {"status": "not ready" if problems else "ready", "problems": problems}
    return Health(not problems, tuple(problems), body)


def _restored(connection: Connection) -> str | None:
    """Return why a restored store takes no orders yet."""
    to_go = facts.count_sweeps_to_go(connection)
    if not to_go:
        return None
    return (
        f"the database was restored: no order is taken until {to_go} more complete"
        f" look{'s' if to_go > 1 else ''} at Novita; 'gpukeeper restore --lift' takes them at once"
    )


def _clock(ahead: timedelta) -> dict[str, Any]:
    """Return whether the clock is believed; a clock that is not keeps nobody from being served."""
    if not ahead:
        return {"isTrusted": True, "aheadSeconds": 0, "notice": None}
    seconds, minutes = int(ahead.total_seconds()), int(PATIENCE.total_seconds() // 60)
    notice = (
        f"The clock has jumped {seconds} s ahead. Until Novita's time confirms it, or it has kept"
        f" to that for {minutes} minutes, time goes on from before the jump: nothing is ended or"
        " removed because of it."
    )
    return {"isTrusted": False, "aheadSeconds": seconds, "notice": notice}


def _silence(beat: Heartbeat, now: datetime) -> str | None:
    if not beat.is_running:
        return f"the {beat.loop} loop has ended"
    if beat.beat_at is None:
        return f"the {beat.loop} loop has not turned yet"
    silent = now - beat.beat_at
    if silent > beat.max_silence:
        return f"the {beat.loop} loop has been silent for {int(silent.total_seconds())} s"
    return None


def _lack(disk: Disk) -> str | None:
    if disk.free_bytes is None:
        return f"the disk of the {disk.name} cannot be examined"
    if disk.free_bytes < MIN_FREE_BYTES:
        free, needed = disk.free_bytes // _MIB, MIN_FREE_BYTES // _MIB
        return f"the disk of the {disk.name} has {free} MiB left of the {needed} that are needed"
    return None


def _warnings(strays: Sequence[Orphan], born_at: datetime | None) -> list[str]:
    """Return what a person should look into although the service works."""
    if not strays:
        return []
    sentences = [f"machines at Novita that nobody here knows: {len(strays)}; see the orphans"]
    older = [
        stray
        for stray in strays
        if born_at is not None and stray.machine.created_at and stray.machine.created_at < born_at
    ]
    if older:
        sentences.append(
            f"machines at Novita that are older than this store: {len(older)}; if a store was lost,"
            " adopt them, or restore its backup"
        )
    return sentences


def _summary(connection: Connection, now: datetime) -> dict[str, Any]:
    looks = facts.find_state(connection)
    counts = instances.count_by_status(connection)
    pending, pending_since = deliveries.count_pending(connection)
    strays = orphans.list_all(connection)
    return {
        "novita": {
            "reachable": None if looks.tried_at is None else looks.error is None,
            "error": looks.error,
            "lastLookAt": format_time(looks.tried_at),
            "lastCompleteLookAt": format_time(looks.seen_at),
            "fleetVanished": looks.vanished > 0,
        },
        "instances": {status.value: count for status, count in sorted(counts.items())},
        "orphans": len(strays),
        "warnings": _warnings(strays, facts.find_birth(connection)),
        "queues": {
            name: {
                "due": queue.due,
                "oldestDueAt": format_time(queue.oldest_due_at),
                "oldestDueSeconds": queue.waits(now),
            }
            for name, queue in _queues(connection, now).items()
        },
        "deliveries": {
            "pending": pending,
            "oldestAt": format_time(pending_since),
            "exhaustedLastDay": deliveries.count_undelivered(connection, now - RECENT).count,
        },
    }
