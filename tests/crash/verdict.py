"""What a run of kills is judged by, once everything has come to rest."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from gpukeeper.domain.events import ANNOUNCED
from gpukeeper.store import tables
from tests.crash.clients import Client
from tests.crash.invariants import bought_twice
from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.invariants import broken_always, broken_at_novita, machines_in


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of a run; ``broken`` are the promises that were not kept."""

    orders: int
    machines_bought: int
    lost: int
    doubled: int
    orphans: int
    webhooks_announced: int
    webhooks_received: int
    webhooks_missing: int
    repeats: int
    broken: tuple[str, ...]


def count(
    connection: Connection,
    *,
    novita: Novita,
    receiver: Receiver,
    clients: Sequence[Client],
    retries: int,
    broken: Iterable[str],
) -> Counts:
    """Compare what the clients, Novita and the receiver know with the store.

    ``broken`` is what was found while the run lasted.
    """
    world = novita.simulator.world
    acknowledged = [instance_id for client in clients for instance_id in client.ordered]
    known = set(connection.scalars(select(tables.instances.c.id)))
    is_announced = tables.events.c.type.in_(kind.value for kind in ANNOUNCED)
    announced = set(connection.scalars(select(tables.events.c.id).where(is_announced)))
    received = Counter(hook.id for hook in receiver.hooks())
    lost = set(acknowledged) - known
    missing = announced - received.keys()
    unheard_of = received.keys() - announced
    return Counts(
        orders=len(known),
        machines_bought=len(world.machines),
        lost=len(lost),
        doubled=len(bought_twice(world)) + len(acknowledged) - len(set(acknowledged)),
        orphans=connection.scalar(select(func.count()).select_from(tables.orphans)) or 0,
        webhooks_announced=len(announced),
        webhooks_received=len(received),
        webhooks_missing=len(missing),
        repeats=received.total() - len(received),
        broken=(
            *broken,
            *broken_always(connection, urls=[receiver.url], retries=retries),
            *broken_at_novita(connection, machines_in(world)),
            *(f"order {order} was acknowledged and is lost" for order in lost),
            *(f"event {event} was never received" for event in missing),
            *(f"event {event} was received and is not stored" for event in unheard_of),
        ),
    )
