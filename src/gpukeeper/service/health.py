"""How the service is: whether it can serve, which loops live, and how Novita answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.events import format_time
from gpukeeper.domain.instance import Status
from gpukeeper.store import deliveries, facts, instances, orphans
from gpukeeper.store.database import Connection, Database, StoreError


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """When a background loop last turned, and how long it may be silent."""

    loop: str
    beat_at: datetime | None
    max_silence: timedelta
    is_running: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service is ready; ``problems`` says in sentences what is not."""

    is_ready: bool
    problems: tuple[str, ...]
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Queues:
    """How many deliveries are pending, and since when the oldest due row waits, by queue.

    An age is in seconds, and 0 where nothing waits.
    """

    deliveries_pending: int
    oldest_due_seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Census:
    """How many instances and orphans there are, and what all machines cost in USD per hour.

    ``vanished`` is how many machines a listing lacked that was too poor to be believed.
    """

    by_status: Mapping[Status, int]
    spend_per_hour: Decimal
    orphans: int
    queues: Queues
    vanished: int = 0


def take_census(connection: Connection, now: datetime) -> Census:
    """Count, in the store alone."""
    counts = instances.count_by_status(connection)
    return Census(
        by_status={status: counts.get(status, 0) for status in Status},
        spend_per_hour=instances.spend_per_hour(connection),
        orphans=len(orphans.every(connection)),
        queues=_measure_queues(connection, now),
        vanished=facts.looks(connection).vanished,
    )


def _measure_queues(connection: Connection, now: datetime) -> Queues:
    due = {
        "instances": instances.next_due_at(connection, now),
        "deliveries": deliveries.oldest_due_at(connection, now),
    }
    return Queues(
        deliveries_pending=deliveries.pending(connection)[0],
        oldest_due_seconds={
            queue: max((now - (due_at or now)).total_seconds(), 0.0)
            for queue, due_at in due.items()
        },
    )


async def examine(
    database: Database,
    heartbeats: Callable[[], Sequence[Heartbeat]],
    now: datetime,
    *,
    about: dict[str, Any],
) -> Health:
    """Return how the service is; ``about`` (version, role) is shown with it."""
    beats = heartbeats()
    problems = [sentence for beat in beats if (sentence := _silence(beat, now))]
    trouble = await database.trouble(lambda connection: facts.touch(connection, now))
    if trouble is not None:
        problems.insert(0, trouble)
    body: dict[str, Any] = {**about}
    try:
        body |= await database.read(lambda connection: _summary(connection, now))
    except StoreUnavailable as error:
        problems.append(error.message)
    except StoreError as error:
        problems.append(f"the database cannot be read: {type(error).__name__}")
    body["loops"] = [{"name": beat.loop, "lastTurnAt": format_time(beat.beat_at)} for beat in beats]
    body |= {"status": "not ready" if problems else "ready", "problems": problems}
    return Health(not problems, tuple(problems), body)


def _silence(beat: Heartbeat, now: datetime) -> str | None:
    if not beat.is_running:
        return f"the {beat.loop} loop has ended"
    if beat.beat_at is None:
        return f"the {beat.loop} loop has not turned yet"
    silent = now - beat.beat_at
    if silent > beat.max_silence:
        return f"the {beat.loop} loop has been silent for {int(silent.total_seconds())} s"
    return None


def _summary(connection: Connection, now: datetime) -> dict[str, Any]:
    looks = facts.looks(connection)
    counts = instances.count_by_status(connection)
    due_at = instances.next_due_at(connection, now)
    pending, pending_since = deliveries.pending(connection)
    return {
        "novita": {
            "reachable": None if looks.tried_at is None else looks.error is None,
            "error": looks.error,
            "lastLookAt": format_time(looks.tried_at),
            "lastCompleteLookAt": format_time(looks.seen_at),
            "fleetVanished": looks.vanished > 0,
        },
        "instances": {status.value: count for status, count in sorted(counts.items())},
        "orphans": len(orphans.every(connection)),
        "oldestDueAt": format_time(due_at) if due_at and due_at <= now else None,
        "deliveries": {"pending": pending, "oldestAt": format_time(pending_since)},
    }
