"""What holds always, whatever went wrong: the promises that every fault run asserts in the end.

Each function returns a sentence for each thing that is wrong, so an empty list is the promise
kept.  They read the store through an open connection, and of Novita only what the simulator's
ledger says: :func:`machines_in` in process, :func:`machines_of` from ``GET /_sim/ledger``.

- :func:`broken_always` holds after every commit, at any moment of any run.
- :func:`broken_at_rest` holds when nothing is due and nobody works.
- :func:`broken_at_novita` holds at rest once Novita has been looked at: money.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Table, select

from gpukeeper.domain import ids
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import ANNOUNCED, EventType
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.simulator.simulated_world import World
from gpukeeper.store import instance_record, tables

# The event that tells of each status; the others tell of something else.
STATUS_OF_EVENT = {
    f"instance.{'created' if status is Status.CREATING else status.value}": status.value
    for status in Status
}
_ANNOUNCED = {kind.value for kind in ANNOUNCED}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the ledger has it; ``is_alive`` until Novita has forgotten or removed it."""

    id: str
    name: str
    is_alive: bool
    is_billed: bool


def machines_in(world: World) -> list[Machine]:
    """Return every machine that there ever was in a simulated world."""
    return [
        Machine(bill.id, bill.name, _exists(bill.is_alive, bill.status), bill.is_billed_now)
        for bill in world.bills()
    ]


def machines_of(ledger: Mapping[str, Any]) -> list[Machine]:
    """Return the machines of the ledger that ``GET /_sim/ledger`` answers."""
    return [
        Machine(
            bill["id"],
            bill["name"],
            _exists(bill["is_alive"], bill["status"]),
            bill["is_billed_now"],
        )
        for bill in ledger["machines"]
    ]


def broken_always(
    connection: Connection, *, urls: Sequence[str] = (), retries: int = 3
) -> list[str]:
    """Return what is wrong with the events and deliveries of a store.

    ``urls`` are the operator's webhooks, which are told of every event, and ``retries`` their
    setting; neither may have changed since the store was new.
    """
    rows = stored(connection)
    return [
        *_doubled_names(rows),
        *_broken_histories(connection, rows),
        *_broken_deliveries(connection, rows, urls),
        *_broken_attempts(connection, retries),
    ]


def broken_at_rest(connection: Connection, now: datetime) -> list[str]:
    """Return which rows are still leased past the end of their lease, with work to do."""
    return [
        f"{table.name} {row.id} is leased until {row.lease_until}"
        for table in (tables.instances, tables.deliveries)
        for row in connection.execute(
            select(table.c.id, table.c.lease_until).where(
                table.c.lease_token.is_not(None), table.c.lease_until <= now
            )
        )
    ]


def broken_at_novita(
    connection: Connection, machines: Iterable[Machine], *, deployment: str | None = None
) -> list[str]:
    """Return which machines cost money unseen, are doubled, or are believed in and gone.

    Ours are those that a row knows, or that carry our mark in their names: ``deployment``, or
    the one that the store has.
    """
    rows = stored(connection)
    ours = _ours(rows, machines, deployment or _deployment(connection))
    alive = {machine.id: machine for machine in ours if machine.is_alive}
    known = known_machines(connection, rows)
    watched = {row.machine.novita_id: row for row in rows if row.is_watched}
    names = Counter(machine.name for machine in alive.values())
    return [
        *(
            f"machine {machine.id} ({machine.name}) is billed and nobody knows it"
            for machine in alive.values()
            if machine.is_billed and machine.id not in known
        ),
        *(
            f"{count} machines are called {name}: one order has at most one"
            for name, count in names.items()
            if count > 1
        ),
        *(
            f"{row.id} is {row.status.value} and its machine {novita_id} is gone"
            for novita_id, row in watched.items()
            if novita_id not in alive
        ),
    ]


def hidden_from_billing(connection: Connection, machines: Iterable[Machine]) -> list[str]:
    """Return which machines cost money while the row of their name says that it costs nothing.

    This holds at any moment from the sale on, however long Novita is away and whoever was killed.
    """
    rows = {row.novita_name: row for row in stored(connection)}
    return [
        f"{row.id} is {row.status.value}, not billing, and its machine {machine.id} costs money"
        for machine in machines
        if machine.is_billed
        and (row := rows.get(machine.name)) is not None
        and not row.may_be_billed
        and row.machine.gone_at is None
    ]


def stored(connection: Connection) -> list[Instance]:
    """Return every instance of the store, oldest first."""
    bodies = connection.scalars(select(tables.instances.c.body).order_by(tables.instances.c.number))
    return [instance_record.parse(body) for body in bodies]


def known_machines(connection: Connection, rows: Sequence[Instance]) -> set[str]:
    """Return Novita's ids of the machines that the store watches or shows as orphans."""
    orphans = set(connection.scalars(select(tables.orphans.c.novita_id)))
    surplus = {novita_id for row in rows for novita_id in row.duplicate_ids}
    return (
        orphans
        | surplus
        | {row.machine.novita_id for row in rows if row.is_watched and row.machine.novita_id}
    )


def _exists(is_alive: bool, status: str) -> bool:
    return is_alive and status != "removed"


def _deployment(connection: Connection) -> str:
    body = connection.scalar(select(tables.facts.c.body).where(tables.facts.c.key == "deployment"))
    return str(json.loads(body)) if body else ""


def _ours(rows: Sequence[Instance], machines: Iterable[Machine], deployment: str) -> list[Machine]:
    names = {row.novita_name for row in rows}
    novita_ids = {row.machine.novita_id for row in rows}
    return [
        machine
        for machine in machines
        if machine.name in names
        or machine.id in novita_ids
        or (deployment and ids.is_ours(machine.name, deployment))
    ]


def _doubled_names(rows: Sequence[Instance]) -> list[str]:
    counts = Counter(row.machine.novita_id for row in rows if row.machine.novita_id)
    return [f"{count} rows own machine {key}" for key, count in counts.items() if count > 1]


def _broken_histories(connection: Connection, rows: Sequence[Instance]) -> list[str]:
    """Every change of status has one event: they make a chain from the order to the row."""
    chains: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for event in _all(connection, tables.events):
        status = STATUS_OF_EVENT.get(event.type)
        if status is not None:
            chains[event.instance_id].append((json.loads(event.data)["previousStatus"], status))
    broken = []
    for row in rows:
        chain = chains.pop(row.id, [])
        ends = [(None, None), *chain]
        fits = all(before[1] == after[0] for before, after in pairwise(ends))
        if not chain or not fits or chain[-1][1] != row.status.value:
            told = [f"{before}->{after}" for before, after in chain]
            broken.append(f"{row.id} is {row.status.value} and its events tell {told}")
    return [*broken, *(f"{instance_id} has events and no row" for instance_id in chains)]


def _broken_deliveries(
    connection: Connection, rows: Sequence[Instance], urls: Sequence[str]
) -> list[str]:
    """Every announced event has one delivery per URL, and no other event has any."""
    own = {row.id: row.order.webhook_url for row in rows}
    ended = set(connection.scalars(select(tables.ended_urls.c.url)))
    owed: dict[int, list[str]] = defaultdict(list)
    for delivery in _all(connection, tables.deliveries):
        owed[delivery.event_number].append(delivery.url)
        if delivery.status == DeliveryStatus.ENDED.value:
            ended.add(delivery.url)
    broken = []
    for event in _all(connection, tables.events):
        told = Counter(owed.pop(event.number, []))
        if event.type == EventType.TEST.value:
            continue
        wanted = {*urls, *filter(None, [own.get(event.instance_id)])}
        expected = wanted if event.type in _ANNOUNCED else set()
        missing = expected - set(told) - ended
        surplus = set(told) - expected
        doubled = {url for url, count in told.items() if count > 1}
        if missing or surplus or doubled:
            broken.append(
                f"{event.type} of {event.instance_id}: not owed to {sorted(missing)}, "
                f"owed in vain to {sorted(surplus)}, twice to {sorted(doubled)}"
            )
    return [*broken, *(f"deliveries of no event: {number}" for number in owed)]


def _broken_attempts(connection: Connection, retries: int) -> list[str]:
    """Attempts are counted, none follows success or exhaustion unless someone asked for it."""
    attempts: dict[str, list[Any]] = defaultdict(list)
    for attempt in connection.execute(
        select(tables.delivery_attempts).order_by(
            tables.delivery_attempts.c.delivery_id, tables.delivery_attempts.c.number
        )
    ):
        attempts[attempt.delivery_id].append(attempt)
    broken = []
    for delivery in _all(connection, tables.deliveries):
        tried = attempts.pop(delivery.id, [])
        successes = [_is_success(attempt) for attempt in tried]
        was_redelivered = delivery.allowed_attempts != 1 + retries
        is_delivered = delivery.status == DeliveryStatus.DELIVERED.value
        faults = {
            "numbers": [attempt.number for attempt in tried] != [*range(1, len(tried) + 1)],
            "count": delivery.attempts != len(tried),
            "too many": len(tried) > delivery.allowed_attempts,
            "after success": any(successes[:-1]) and not was_redelivered,
            "success": is_delivered and successes[-1:] != [True],
        }
        wrong = [name for name, is_wrong in faults.items() if is_wrong]
        if wrong:
            broken.append(f"the attempts of {delivery.status} delivery {delivery.id}: {wrong}")
    return [*broken, *(f"attempts of no delivery: {delivery_id}" for delivery_id in attempts)]


def _is_success(attempt: Any) -> bool:
    status = attempt.response_status
    return status is not None and 200 <= status < 300


def _all(connection: Connection, table: Table) -> Iterable[Any]:
    return connection.execute(select(table).order_by(table.c.number))
