"""Find whose the machines are that a look has shown and that no row watches."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpukeeper.domain import ids
from gpukeeper.domain.lifecycle import duplicates
from gpukeeper.domain.machines import Observation
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection
from gpukeeper.telemetry import Logger


@dataclass(frozen=True, slots=True)
class Owners:
    """Machines by whose they are: ``nobodys``, and by the row that has one too many.

    ``awaited`` are those of rows that have none, and have not asked for one in this store.
    """

    nobodys: Sequence[Observation]
    spare: Mapping[str, Sequence[str]]
    awaited: Mapping[str, Observation]


def find_owners(connection: Connection, machines: Sequence[Observation]) -> Owners:
    """Return whose these machines are; what a row knows or waits for is left out."""
    known = instances.find_known_novita_ids(connection, [machine.novita_id for machine in machines])
    unknown = [machine for machine in machines if machine.novita_id not in known]
    namesakes = instances.find_by_novita_names(connection, [machine.name for machine in unknown])
    nobodys: list[Observation] = []
    spare: defaultdict[str, list[str]] = defaultdict(list)
    awaited: dict[str, Observation] = {}
    for machine in unknown:
        row = namesakes.get(machine.name)
        if row is None:
            nobodys.append(machine)
        elif duplicates.is_duplicate(row, machine.novita_id):
            spare[row.id].append(machine.novita_id)
        elif not duplicates.is_awaiting_machine(row):
            nobodys.append(machine)
        elif row.purchase.intent is None:
            awaited.setdefault(row.id, machine)
    return Owners(nobodys, spare, awaited)


def is_older(machine: Observation, at: datetime, age: timedelta) -> bool:
    """Whether a machine was at least so old then; one of unknown age is."""
    return machine.created_at is None or at >= machine.created_at + age


def log_orphans(log: Logger, found: Sequence[Observation], deployment: str) -> None:
    """Warn of machines that nobody knows."""
    for machine in found:
        log.warning(
            "orphan_found",
            novita_id=machine.novita_id,
            name=machine.name,
            price_per_hour=str(machine.price_per_hour),
            is_foreign=not ids.is_ours(machine.name, deployment),
            consequence="it costs money until somebody adopts or deletes it",
        )
