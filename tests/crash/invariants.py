"""What holds after a crash beyond what holds always: nothing bought twice, nothing left to do."""

from collections import Counter

from sqlalchemy import Connection, select

from gpukeeper.domain.instances import Status
from gpukeeper.simulator.simulated_world import World
from gpukeeper.store import tables

# Statuses that are left only if somebody wants it.
SETTLED = frozenset(
    {
        Status.RUNNING,
        Status.STOPPED,
        Status.DELETED,
        Status.FAILED,
        Status.RECLAIMED,
        Status.LOST,
    }
)


def bought_twice(world: World) -> list[str]:
    """Return the names under which more than one machine was ever bought, gone ones included."""
    names = Counter(machine.order.name for machine in world.machines.values())
    return [name for name, count in names.items() if count > 1]


def unrest(connection: Connection) -> list[str]:
    """Return what is still under way: statuses that do not last, leases, deliveries."""
    moving = connection.execute(
        select(tables.instances.c.id, tables.instances.c.status).where(
            tables.instances.c.status.not_in(status.value for status in SETTLED)
        )
    )
    return [
        *(f"{row.id} is {row.status}" for row in moving),
        *(
            f"delivery {delivery_id} is pending"
            for delivery_id in connection.scalars(
                select(tables.deliveries.c.id).where(tables.IS_PENDING)
            )
        ),
        *(
            f"{table.name} {row_id} is leased"
            for table in (tables.instances, tables.deliveries)
            for row_id in connection.scalars(
                select(table.c.id).where(
                    table.c.lease_token.is_not(None), table.c.due_at.is_not(None)
                )
            )
        ),
    ]
