"""Take in a machine that Novita has and that the store does not know."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gpukeeper.domain import ids
from gpukeeper.domain.errors import ForeignMachine, NotFound, NovitaNotFound
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle import new_instance
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Observation
from gpukeeper.novita.client import NovitaClient
from gpukeeper.store import instances, orphans
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Adoption:
    """Which machine is taken in, by whom, and what its owner wants of it then.

    ``mark`` is the deployment's that the machine must carry; ``None`` takes any.
    """

    novita_id: str
    mark: str | None
    wish: Callable[[Instance], Instance]
    traceparent: str | None


async def record_orphan(
    novita: NovitaClient, database: Database, novita_id: str, now: datetime
) -> None:
    """Have a machine among the orphans that no look has put there; idempotent.

    Raises NotFound when Novita has no such machine, and NovitaError.
    """
    if await database.read(lambda connection: orphans.find(connection, novita_id)):
        return
    try:
        seen = await novita.get(novita_id)
    except NovitaNotFound as error:
        raise NotFound(f"Novita knows no machine '{novita_id}'.") from error

    def note(connection: Connection) -> None:
        if not instances.find_known_novita_ids(connection, [seen.novita_id]):
            orphans.record(connection, seen, now)

    if seen.novita_id == novita_id:
        await database.write(note)


def adopt_orphan(
    connection: Connection,
    adoption: Adoption,
    now: datetime,
    *,
    deployment: str,
    random_bytes: Callable[[int], bytes],
    limits: Limits,
    seal: EnvsCipher,
    outbox: Outbox,
) -> Change:
    """Make an orphan an instance, as it was found, and store its owner's wish.

    Raises NotFound, and ForeignMachine when it does not carry the mark.
    """
    machine = _take_off_list(connection, adoption.novita_id, adoption.mark)
    adopted = new_instance.create_from_machine(
        machine,
        now,
        is_name_free=not instances.find_by_novita_names(connection, [machine.name]),
        deployment=deployment,
        random_bytes=random_bytes,
        traceparent=adoption.traceparent,
    )
    instances.add(connection, adopted, seal, outbox)

    def fold(row: Instance) -> Instance:
        taken = new_instance.settle_adopted(row, machine, now, limits)
        return schedule(adoption.wish(taken), now, limits)

    return instances.change(connection, adopted.id, fold, now, outbox)


def _take_off_list(connection: Connection, novita_id: str, deployment: str | None) -> Observation:
    """Take a machine off the list of orphans and return it; with a deployment, only one of its own.

    Raises NotFound and ForeignMachine.
    """
    orphan = orphans.remove(connection, novita_id)
    if orphan is None:
        raise NotFound(f"There is no orphan '{novita_id}'.")
    name = orphan.machine.name
    if deployment is not None and not ids.is_ours(name, deployment):
        raise ForeignMachine(
            f"'{name}' does not carry this deployment's mark, -gk{deployment}: it may be somebody "
            "else's."
        )
    return orphan.machine
