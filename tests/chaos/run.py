"""`python -m tests.chaos.run`: hundreds of orders through hours of bad weather, then the reckoning.

Everything random comes from one seed: the same arguments give the same figures.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from sqlalchemy import func, select

from gpukeeper.store import tables
from tests import invariants
from tests.chaos import outages
from tests.chaos.owners import Account, People
from tests.chaos.service import Stage, build_stage, log_to
from tests.chaos.timeline import SimulatedLoop, pass_time
from tests.chaos.verdict import doubled, limited, violations

# The last part of a run is calm, so that everything can come to an end: a start-up takes up to
# ten minutes, a verb is repeated after five, an incident ends within the hour.
_CALM_SECONDS = 3600.0
_COUNTED = (tables.events, tables.deliveries, tables.delivery_attempts, tables.orphans)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run: figures by name, and a sentence for each broken promise."""

    figures: dict[str, object]
    broken: list[str]


def run(directory: Path, *, orders: int, hours: float, seed: int) -> Result:
    """Run in an empty directory, which keeps the database and the log."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_run(directory, orders=orders, hours=hours, seed=seed))


async def _run(directory: Path, *, orders: int, hours: float, seed: int) -> Result:
    stage = build_stage(directory, seed=seed, simulator=outages.habits(seed))
    wild = max(hours * 3600 - _CALM_SECONDS, hours * 1800)
    people = People(stage, seed, orders, wild)
    async with AsyncExitStack() as stack:
        stack.enter_context(log_to(directory / "chaos.log"))
        stack.callback(stage.database.close)
        stack.push_async_callback(stage.novita.aclose)
        loops = [asyncio.create_task(loop.run()) for loop in stage.engine.loops]
        stack.push_async_callback(_end, stage, loops)
        outages.break_out(stage.world)
        stage.wire.refused = outages.REFUSED
        await people.act()
        stage.wire.refused = 0
        spoilt = _spoilt(stage)
        stage.world.faults.clear()
        await pass_time(hours * 3600 - wild)
        broken = violations(stage, people.account)
        figures = _figures(stage, people.account)
    return Result(
        {
            "seed": seed,
            "orders": orders,
            "simulated hours": hours,
            **spoilt,
            **figures,
            "broken promises": len(broken),
        },
        broken,
    )


def _spoilt(stage: Stage) -> dict[str, object]:
    """Return how many answers Novita gave in the bad weather, and what was wrong with them."""
    spoilt: Counter[str] = Counter()
    for rule in stage.world.faults.rules():
        spoilt[outages.word_for(rule.fault)] += rule.done
    answers = sum(stage.world.journal.counts().values())
    in_outages = spoilt["in an outage"]
    by_weather = spoilt.total() - in_outages
    share = by_weather / max(answers - in_outages, 1)
    return {
        "answers in bad weather": answers,
        "answers spoilt": f"{by_weather} ({share:.0%}), and {in_outages} in outages",
        **{f"  {word}": number for word, number in sorted(spoilt.items())},
    }


async def _end(stage: Stage, loops: Sequence["asyncio.Task[None]"]) -> None:
    for loop in stage.engine.loops:
        loop.drain()
    await asyncio.gather(*loops)
    for workers in stage.engine.workers:
        await workers.drain(timedelta(minutes=1))


def _figures(stage: Stage, account: Account) -> dict[str, object]:
    counts = stage.counts
    with stage.database.engine.connect() as connection:
        rows = invariants.stored(connection)
        known = invariants.known_machines(connection, rows)
        statuses = connection.execute(
            select(tables.instances.c.status, func.count())
            .group_by(tables.instances.c.status)
            .order_by(tables.instances.c.status)
        ).all()
        count = {
            table: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (
                tables.events,
                tables.deliveries,
                tables.delivery_attempts,
                tables.orphans,
            )
        }
        exhausted = connection.scalar(
            select(func.count()).where(tables.deliveries.c.status == "exhausted")
        )
    billed = [m for m in invariants.machines_in(stage.world) if m.is_billed]
    calls = {
        name.removeprefix("call "): number
        for name, number in sorted(counts.items())
        if name.startswith("call ")
    }
    return {
        "wishes of owners": account.counts["wishes"],
        "deeds of others": account.counts["deeds"],
        "calls to Novita": sum(calls.values()),
        **{f"  {name}": number for name, number in calls.items()},
        "connections refused": stage.wire.counts["refused"],
        "purchases": len(stage.world.machines),
        "  with a limit": len(limited(rows, stage.world)),
        "orders that left nothing": account.counts["orders that left nothing"],
        "lost answers looked up": counts["looked up"],
        "  adopted": counts["adopted"],
        "  not found": counts["not found"],
        "  bought again": counts["bought again"],
        "machines doubled": len(doubled(stage.world)),
        "machines lost": sum(machine.id not in known for machine in billed),
        "orphans": count[tables.orphans],
        "machines billed in the end": len(billed),
        **{f"orders {status}": number for status, number in statuses},
        "events": count[tables.events],
        "deliveries": count[tables.deliveries],
        "  exhausted": exhausted,
        "attempts": count[tables.delivery_attempts],
    }


def main() -> int:
    """Run as told by the command line; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--hours", type=float, default=10.0, help="simulated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="an empty directory that keeps database and log")
    arguments = parser.parse_args()
    began = perf_counter()
    with tempfile.TemporaryDirectory() as passing:
        result = run(
            arguments.keep or Path(passing),
            orders=arguments.orders,
            hours=arguments.hours,
            seed=arguments.seed,
        )
    for name, value in result.figures.items():
        print(f"{name:45} {value}")
    print(f"{'real seconds':45} {perf_counter() - began:.1f}")
    for sentence in result.broken:
        print(f"BROKEN: {sentence}")
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
