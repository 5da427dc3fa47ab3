"""Find the machine that an order with a key has bought, where the store has forgotten the order.

A store that was restored knows nothing of what was ordered since its backup was made.  The machines
are orphans then, and the name of each says which key has ordered it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gpukeeper.domain import ids
from gpukeeper.domain.errors import KeyReused
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle import new_instance
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Observation
from gpukeeper.store import instances, orphans
from gpukeeper.store.db.database import Connection
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox

# So many orders may have had one key: all but the last failed and bought nothing.  Later ones have
# a name by chance, and are not found again.
_TURNS = 4


@dataclass(frozen=True, slots=True)
class Recovered:
    """The row that has the machine; ``change`` is what made it a row, if that was now."""

    instance_id: str
    change: Change | None = None


def derive_names(order_name: str, deployment: str, key: str | None) -> tuple[str, ...]:
    """Return what the machine of an order with this key may be called at Novita, in turn."""
    if key is None:
        return ()
    return tuple(
        ids.novita_name(order_name, deployment, ids.order_bytes(deployment, key, turn))
        for turn in range(_TURNS)
    )


def find_free_name(connection: Connection, names: Sequence[str]) -> str | None:
    """Return the first of these names that no row has."""
    taken = instances.find_by_novita_names(connection, names) if names else {}
    return next((name for name in names if name not in taken), None)


def has_machine(connection: Connection, names: Sequence[str]) -> bool:
    """Whether Novita shows a machine that an order with these names may have bought."""
    rows = instances.find_by_novita_names(connection, names)
    is_owned = any(row.machine.novita_id is not None for row in rows.values())
    return is_owned or bool(_orphans_of(connection, names))


def recover_order(
    connection: Connection,
    placed: Instance,
    names: Sequence[str],
    now: datetime,
    limits: Limits,
    seal: EnvsCipher,
    outbox: Outbox,
) -> Recovered | None:
    """Return the row that has the machine of an order with a key, which may be an orphan.

    An orphan becomes the machine of ``placed``, a new row of the order.  Raises KeyReused when the
    machine cannot be one of this order.
    """
    rows = instances.find_by_novita_names(connection, names)
    owner = next((row for row in rows.values() if row.machine.novita_id is not None), None)
    if owner is not None:
        if owner.order.gpu_num != placed.order.gpu_num:
            raise KeyReused
        return Recovered(owner.id)
    machines = _orphans_of(connection, names)
    if not machines:
        return None
    machine = min(machines, key=lambda each: (each.created_at or now, each.novita_id))
    if machine.name not in names or not _fits(machine, placed):
        raise KeyReused
    orphans.remove(connection, machine.novita_id)
    row = new_instance.attach_machine(placed, machine, now, is_name_free=machine.name not in rows)
    instances.add(connection, row, seal, outbox)
    change = instances.change(
        connection,
        row.id,
        lambda known: schedule(
            new_instance.settle_adopted(known, machine, now, limits), now, limits
        ),
        now,
        outbox,
    )
    return Recovered(row.id, change)


def _orphans_of(connection: Connection, names: Sequence[str]) -> list[Observation]:
    tokens = tuple(ids.token_of(name) for name in names)
    return [
        orphan.machine
        for orphan in orphans.list_all(connection)
        if orphan.machine.name.endswith(tokens)
    ]


def _fits(machine: Observation, placed: Instance) -> bool:
    """Whether a machine can be of this order, as far as Novita says what it is."""
    return machine.gpu_num in (None, placed.order.gpu_num)
