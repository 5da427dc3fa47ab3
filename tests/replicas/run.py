"""Kill replicas at random under load, and measure when others take over what the dead ones held.

``python -m tests.replicas.run --kills 50`` prints its figures, and ends with 1 if any is bad.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import quantiles

from tests.crash.verdict import Counts
from tests.e2e.novita import simulating
from tests.e2e.receiver import receiving
from tests.e2e.waiting import eventually, pause
from tests.postgres import server
from tests.replicas.fleet import Fleet
from tests.replicas.lease_record import Inheritance

ROLES = ("all", "all", "all")
# A replica is killed at a moment within this time, and comes back within the same.
LONGEST_TIME_MS = 1_500
# Promised, from the kill of a replica to the moment at which another works on what it held.
TAKEOVER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Takeovers:
    """After how many seconds the rows of the dead were taken over.

    ``hits`` of the kills hit a replica that held any.  ``put_off`` are rows that were due only
    after the kill, and waited from then on; ``settled`` those that others had nothing left to
    do on, and ``never`` those that were left behind.
    """

    hits: int
    rows: int
    by_table: dict[str, int]
    p50: float
    p90: float
    longest: float
    late: int
    put_off: int
    settled: int
    never: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How replicas were killed, and what came of it."""

    kills: int
    roles: tuple[str, ...]
    counts: Counts
    takeovers: Takeovers


def run(
    kills: int,
    *,
    directory: Path,
    roles: Sequence[str] = ROLES,
    say: Callable[[str], None] = lambda line: None,
) -> Figures:
    """Kill so many replicas one after the other, and return what came of it."""
    broken: list[str] = []
    with assembled(directory, roles) as fleet:
        with fleet.under_load(broken):
            for seed in range(kills):
                broken += _kill_one(fleet, Random(seed))
                say(f"kill {seed + 1} of {[*fleet.dead][-1]}; broken: {broken}")
        fleet.come_to_rest()
        inheritances = fleet.ledger.inheritances(fleet.dead)
        for each in inheritances:
            if each.since_kill is not None and each.since_kill > TAKEOVER_SECONDS:
                say(f"{each.row_id} of {each.holder}, killed at {fleet.dead[each.holder]}:")
                for change in each.history:
                    say(f"  {change.at} {change.by} {change.token} due {change.due_at}")
        return Figures(kills, tuple(roles), fleet.count(broken), summed_up(inheritances))


@contextmanager
def assembled(directory: Path, roles: Sequence[str]) -> Iterator[Fleet]:
    """Give replicas that run on a PostgreSQL server of their own."""
    with ExitStack() as stack:
        postgres = stack.enter_context(server())
        novita = stack.enter_context(simulating())
        receiver = stack.enter_context(receiving())
        fleet = Fleet(postgres, directory, novita, receiver, roles)
        stack.callback(fleet.close)
        fleet.start()
        yield fleet


def summed_up(inheritances: Sequence[Inheritance]) -> Takeovers:
    """Return the distribution of what was measured."""
    seconds = sorted(each.waited for each in inheritances if each.waited is not None)
    # Quantiles want two values at least.
    tenths = quantiles(seconds * 2, n=10, method="inclusive") if seconds else [0.0] * 9
    return Takeovers(
        hits=len({each.holder for each in inheritances}),
        rows=len(inheritances),
        by_table=dict(Counter(each.row_id.split()[0] for each in inheritances)),
        p50=round(tenths[4], 1),
        p90=round(tenths[8], 1),
        longest=round(seconds[-1], 1) if seconds else 0.0,
        late=sum(each > TAKEOVER_SECONDS for each in seconds),
        put_off=sum(each.since_kill != each.waited for each in inheritances),
        settled=sum(each.waited is None and not each.is_due for each in inheritances),
        never=sum(each.is_due for each in inheritances),
    )


def _kill_one(fleet: Fleet, random: Random) -> list[str]:
    """Kill a replica that works, start it again, and return which promises are not kept."""
    victim = random.randrange(len(fleet.replicas))
    pause(random.randrange(LONGEST_TIME_MS) / 1_000)
    if fleet.replicas[victim].role != "api":
        eventually(lambda: fleet.ledger.is_at_work(fleet.holders[victim]), "work")
    fleet.kill(victim)
    broken = fleet.broken()
    pause(random.randrange(LONGEST_TIME_MS) / 1_000)
    fleet.revive(victim)
    return broken


def main() -> int:
    """Run as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--roles", default=",".join(ROLES), help="of each replica")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpukeeper-replicas-") as directory:
        figures = run(
            arguments.kills,
            directory=Path(directory),
            roles=arguments.roles.split(","),
            say=lambda line: print(line, flush=True),
        )
    takeovers = {f"takeover {name}": value for name, value in asdict(figures.takeovers).items()}
    shown = {"kills": figures.kills, "roles": figures.roles, **asdict(figures.counts), **takeovers}
    for name, figure in shown.items():
        print(f"{name.replace('_', ' '):20} {figure}")
    is_bad = figures.counts.broken or figures.takeovers.late or figures.takeovers.never
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
