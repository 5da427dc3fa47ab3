"""Which machines at Novita may be ours although no row knows them."""

from collections.abc import Sequence
from datetime import datetime

from gpukeeper.domain import ids
from gpukeeper.domain.machines import Observation, Phase

_ON_THE_WAY_OUT = frozenset({Phase.GOING, Phase.GONE})


def orphans_among(
    machines: Sequence[Observation], deployment: str, born_at: datetime | None
) -> list[Observation]:
    """Return the machines with our mark, and those that a lost store of ours may have bought.

    The latter carry another mark and are older than this store, which was ``born_at`` (None: too
    long ago to be told).  A mark whose store has bought since is that of a living neighbour on the
    same account, and its machines are none of ours.
    """
    neighbours = {
        ids.deployment_of(machine.name)
        for machine in machines
        if born_at is None or (machine.created_at is not None and machine.created_at > born_at)
    }
    return [
        machine
        for machine in machines
        if machine.phase not in _ON_THE_WAY_OUT
        and (mark := ids.deployment_of(machine.name)) is not None
        and (mark == deployment or (born_at is not None and mark not in neighbours))
    ]
