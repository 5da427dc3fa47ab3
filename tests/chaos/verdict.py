"""Compare, at the end of a run, what the store says with what the simulator knows to be true."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from sqlalchemy import Connection, func, select

from gpukeeper.domain.instances import Command, DesiredState, Instance, OnFailure, Status
from gpukeeper.domain.lifecycle.transitions import IN_TRANSIT
from gpukeeper.domain.products import BillingMode
from gpukeeper.simulator.billing import PRICES_PER_USD
from gpukeeper.simulator.machines.machine import GONE, Machine
from gpukeeper.simulator.simulated_world import World
from gpukeeper.store import tables
from tests import invariants
from tests.chaos.owners import Account
from tests.chaos.receiver import HOOKS, Receiver
from tests.chaos.service import Stage
from tests.chaos.timeline import now

# With the simulator's word for a machine, the store may say one of these.
_TRUE: dict[str, frozenset[Status]] = {
    "running": frozenset({Status.RUNNING}),
    "exited": frozenset({Status.STOPPED, Status.RECLAIMED, Status.FAILED}),
    # A boot that hangs, for ever or until somebody deletes it.
    "pulling": frozenset({Status.FAILED}),
    "starting": frozenset({Status.FAILED}),
    GONE: frozenset({Status.DELETED, Status.LOST, Status.RECLAIMED, Status.FAILED}),
    "": frozenset({Status.FAILED, Status.DELETED}),
}
# What somebody must have done to a machine before it may be called this.
_LOST_BY = frozenset({"delete", "vanish", "reclaim"})
_DOWN_BY = frozenset({"stop", "exit", "boot-error"})
# What was so at Novita when this was announced, or shortly before.
_NEWS: dict[str, frozenset[str]] = {
    "instance.running": frozenset({"running"}),
    "instance.stopped": frozenset({"exited"}),
    "instance.reclaimed": frozenset({"exited", GONE}),
    "instance.deleted": frozenset({"removed", GONE}),
    "instance.lost": frozenset({"removed", GONE}),
}
# Longer than an outage that begins while a change is looked into.
_NEWS_IS_OLD_AFTER = timedelta(minutes=3)
_MEDDLING_SHOWS_WITHIN = timedelta(minutes=30)


def violations(stage: Stage, account: Account) -> list[str]:
    """Return a sentence for each promise that the run has broken; none is the promise kept."""
    with stage.database.engine.connect() as connection:
        rows = invariants.stored(connection)
        machines = invariants.machines_in(stage.world)
        return [
            *invariants.broken_always(connection, urls=HOOKS),
            *invariants.broken_at_rest(connection, now()),
            *invariants.broken_at_novita(connection, machines),
            *_lost_orders(rows, account),
            *_untrue(rows, stage.world, account),
            *_forgotten_wishes(rows, stage.world, account),
            *_false_news(connection, stage.world),
            *_doubled(stage.world),
            *_too_dear(rows, stage.world),
            *_orphans(connection),
            *_unfinished_deliveries(connection),
            *_wrongly_received(connection, stage.receiver),
            *_faults_of_ours(stage),
        ]


def limited(rows: Iterable[Instance], world: World) -> list[tuple[Decimal, Decimal]]:
    """Return the limit and the price at its sale of every machine whose order has a limit."""
    limits = {row.novita_name: row.order.max_price_per_hour for row in rows}
    return [
        (limit, Decimal(machine.sold_at_price * machine.order.gpu_num) / PRICES_PER_USD)
        for machine in world.machines.values()
        if (limit := limits.get(machine.order.name)) is not None
    ]


def _too_dear(rows: Iterable[Instance], world: World) -> list[str]:
    return [
        f"a machine was sold at ${price}, above its limit of ${limit}"
        for limit, price in limited(rows, world)
        if price > limit
    ]


def doubled(world: World) -> list[tuple[Machine, Machine]]:
    """Return the machines that were bought while another of their name existed."""
    by_name: dict[str, list[Machine]] = defaultdict(list)
    for machine in world.machines.values():
        by_name[machine.order.name].append(machine)
    return [
        (older, newer)
        for named in by_name.values()
        for older, newer in pairwise(sorted(named, key=lambda machine: machine.created_at))
        if not older.is_gone(newer.created_at)
    ]


def _doubled(world: World) -> list[str]:
    return [
        f"{newer.order.name} was bought at {newer.created_at:%H:%M:%S} although its machine of "
        f"{older.created_at:%H:%M:%S} existed"
        for older, newer in doubled(world)
    ]


def _lost_orders(rows: Iterable[Instance], account: Account) -> list[str]:
    known = {row.id for row in rows}
    return [f"order {wanted} is not stored" for wanted in account.ordered if wanted not in known]


def _orphans(connection: Connection) -> list[str]:
    return [
        f"{found} is an orphan" for found in connection.scalars(select(tables.orphans.c.novita_id))
    ]


def _untrue(rows: Iterable[Instance], world: World, account: Account) -> list[str]:
    broken = []
    for row in rows:
        machine = world.machines.get(row.machine.novita_id or "")
        word = _word(machine, world)
        wishes = account.wishes[row.id]
        deeds = account.deeds[row.machine.novita_id or ""] | _fate_of(machine)
        if row.status in IN_TRANSIT:
            broken.append(f"{row.id} is still {row.status.value}, its machine '{word}'")
        elif row.status not in _TRUE.get(word, frozenset()):
            broken.append(f"{row.id} is {row.status.value}, its machine '{word}'")
        elif not _is_explained(row, machine, wishes, deeds):
            broken.append(f"{row.id} is {row.status.value} ({row.reason}): {deeds}, {wishes}")
        elif row.desired_state is DesiredState.DELETED and row.status is not Status.DELETED:
            broken.append(f"{row.id} is to be deleted and is {row.status.value}")
    return broken


def _forgotten_wishes(rows: Iterable[Instance], world: World, account: Account) -> list[str]:
    """A machine does not run whose owner wanted it stopped, unless somebody meddled since."""
    broken = []
    for row in rows:
        verb, at = account.last_wish.get(row.id, (None, now()))
        meddled_at = account.last_deed_at.get(row.machine.novita_id or "")
        is_meddled_with = meddled_at is not None and meddled_at > at - _MEDDLING_SHOWS_WITHIN
        runs = _word(world.machines.get(row.machine.novita_id or ""), world) == "running"
        if verb is Command.STOP and runs and not is_meddled_with:
            broken.append(f"{row.id} was to be stopped at {at:%H:%M:%S} and runs")
    return broken


def _false_news(connection: Connection, world: World) -> list[str]:
    """What is announced of a machine was true of it shortly before."""
    broken = []
    for event in connection.execute(select(tables.events).order_by(tables.events.c.number)):
        words = _NEWS.get(event.type)
        machine = world.machines.get(json.loads(event.data)["instance"]["novitaId"] or "")
        if words is not None and machine is not None:
            since = event.at - _NEWS_IS_OLD_AFTER
            if not words & _words_between(machine, since, event.at):
                broken.append(f"{event.type} of {event.instance_id} at {event.at} was not true")
    return broken


def _words_between(machine: Machine, since: datetime, until: datetime) -> set[str]:
    """Return what a machine was in a span of time."""
    moments = [*machine.moments, None]
    return {
        moment.status
        for moment, following in pairwise(moments)
        if moment is not None and moment.at <= until and (following is None or following.at > since)
    }


def _word(machine: Machine | None, world: World) -> str:
    if machine is None:
        return ""
    moment = machine.at(world.now())
    return GONE if moment is None or moment.status == "removed" else moment.status


def _fate_of(machine: Machine | None) -> set[str]:
    """Return what was decided at the purchase, in the words of the deeds."""
    if machine is None:
        return set()
    past = [moment.status for moment in machine.moments]
    deeds = {"vanish"} if GONE in past and "toRemove" not in past else set()
    if machine.reclaim is not None or any(moment.spot_status for moment in machine.moments):
        deeds.add("reclaim")
    if "exited" in past:
        deeds.add("exit")
    return deeds


def _is_explained(
    row: Instance, machine: Machine | None, wishes: set[Command], deeds: set[str]
) -> bool:
    """Whether the world gave a reason for this status."""
    match row.status:
        case Status.DELETED:
            return Command.DELETE in wishes or row.order.on_failure is OnFailure.DELETE
        case Status.LOST:
            return bool(deeds & _LOST_BY)
        case Status.STOPPED:
            return Command.STOP in wishes or bool(deeds & _DOWN_BY)
        case Status.RECLAIMED:
            # A fate may take back any machine; without one, only a spot machine's end is a reclaim.
            is_spot = row.order.billing_mode is BillingMode.SPOT
            return "reclaim" in deeds or (is_spot and bool(deeds))
        case Status.FAILED:
            return row.reason is not None
    return machine is not None


def _unfinished_deliveries(connection: Connection) -> list[str]:
    statuses = connection.execute(
        select(tables.deliveries.c.status, func.count()).group_by(tables.deliveries.c.status)
    ).all()
    return [
        f"{count} deliveries are {status}"
        for status, count in statuses
        if status not in ("delivered", "exhausted")
    ]


def _wrongly_received(connection: Connection, receiver: Receiver) -> list[str]:
    """Each event is taken once per URL, and a lane's attempts neither overlap nor overtake."""
    deliveries, events = tables.deliveries, tables.events
    stored = connection.execute(
        select(
            deliveries.c.url, events.c.id, events.c.instance_id, events.c.number, deliveries
        ).join(events, events.c.number == deliveries.c.event_number)
    ).all()
    by_key = {(row.url, row.id): row for row in stored}
    taken: dict[tuple[str, str], int] = defaultdict(int)
    lanes: dict[tuple[str, str], list[tuple[int, object, object]]] = defaultdict(list)
    broken = []
    for attempt in receiver.attempts:
        row = by_key.get((attempt.url, attempt.webhook_id))
        if row is None:
            broken.append(f"{attempt.url} was told of {attempt.webhook_id}, which is not stored")
            continue
        taken[attempt.url, attempt.webhook_id] += attempt.is_accepted
        lanes[attempt.url, row.instance_id].append((row.number, attempt.began_at, attempt.ended_at))
    for key, row in by_key.items():
        expected = int(row.status == "delivered")
        if taken[key] != expected:
            broken.append(f"{key} is {row.status} and was taken {taken[key]} times")
    for lane, attempts in lanes.items():
        for before, after in pairwise(sorted(attempts, key=lambda attempt: str(attempt[1]))):
            if after[0] < before[0] or str(after[1]) < str(before[2]):
                broken.append(f"{lane}: event {after[0]} left before {before[0]} was done")
    return broken


def _faults_of_ours(stage: Stage) -> list[str]:
    count = stage.counts["unhandled"]
    return [f"{count} errors of our own were caught by the engine"] if count else []
