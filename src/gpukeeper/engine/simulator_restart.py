"""Notice that a simulator has begun anew beside a store that knows machines of before."""

from collections.abc import Sequence

from gpukeeper.novita.client import NovitaClient
from gpukeeper.store import facts
from gpukeeper.store.db.database import Database
from gpukeeper.store.instances import SweepRow
from gpukeeper.telemetry import Logger


async def is_new_world(
    database: Database, novita: NovitaClient, log: Logger, missing: Sequence[SweepRow]
) -> bool:
    """Whether another simulated world answers than before, so that what is missing is gone.

    It is taken for the present one once it lacks none of our machines.  Novita itself is no
    simulated world, and never begins anew.
    """
    world = novita.simulated_world
    if world is None:
        return False
    known = await database.read(facts.find_simulated_world)
    is_new = known not in (None, world)
    if is_new and missing:
        log.warning(
            "simulator_began_anew", consequence="the machines of before are gone, and are lost here"
        )
    elif is_new:
        await database.write(lambda connection: facts.replace_world(connection, world))
    return is_new
