"""Measure what it costs to watch a fleet of which every machine is starting.

The store knows all machines and has seen them once; Novita lists them, a hundred in an answer.
Then nothing changes for some looks, and then a tenth of the fleet does.
"""

import argparse
import math
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Report, run
from bench.fleet import SETTINGS, count_writes, write_fleet
from bench.looks import Cost, Watch, start_novita, tell
from bench.novita import PAGE_SIZE
from bench.plots import Panel, draw
from bench.processes import Stage
from gpukeeper.store.db.database import Database, sqlite_url

# Smaller fleets than the largest are looked at more often than it is, to save time.
SHORT_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """What watching so many machines costs while nothing changes, and when a tenth does."""

    machines: int
    calm: Cost
    changed: Cost
    rss_mb: float


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    sizes = [100, 1_000, 3_000, 10_000]
    parser.add_argument("--machines", type=int, nargs="+", default=sizes, help="fleets, ascending")
    parser.add_argument("--looks", type=int, default=3, help="at each while nothing changes (3)")
    parser.add_argument("--interval", type=float, default=30, help="between looks at the largest")
    parser.add_argument("--novita-ms", type=float, default=20, help="Novita's answer time (20)")
    parser.add_argument("--plot", metavar="FILE", help="draw the costs against N as SVG")
    parser.add_argument("--profile", metavar="FILE", help="run the largest under cProfile")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Watch fleets of all sizes, one after the other."""
    largest = arguments.machines[-1]
    found: list[Watched] = []
    for machines in arguments.machines:
        found.append(watch(machines, arguments, is_last=machines == largest))
        tell([], figures_of(found[-1], is_last=False))
    if arguments.plot:
        Path(arguments.plot).write_text(draw(panels(found), of="machines that are starting"))
    return Report(
        f"watching {', '.join(f'{each:,}' for each in arguments.machines)} machines, "
        f"Novita answers in {arguments.novita_ms:g} ms",
        rows=[],
        figures=[
            figure for each in found for figure in figures_of(each, is_last=each is found[-1])
        ],
    )


def watch(machines: int, arguments: argparse.Namespace, *, is_last: bool) -> Watched:
    """Watch a fleet of so many machines."""
    with ExitStack() as stack:
        stage = Stage(stack)
        novita = start_novita(stage, machines, answer_ms=arguments.novita_ms)
        database = Database(sqlite_url(stage.data_dir / "gpukeeper.db"))
        stack.callback(database.close)
        write_fleet(database, machines)
        with database.engine.begin() as connection:
            count_writes(connection)
        interval = arguments.interval if is_last else SHORT_SECONDS
        service = stage.service(
            novita.url,
            settings={**SETTINGS, "GPUKEEPER_POLL_INTERVAL": str(interval)},
            profile=arguments.profile if is_last else None,
        )
        watching = Watch(novita, database, [service])
        # The first look finds the first page and compiles statements.
        watching.wait_for_look()
        calm = watching.cost_of(arguments.looks)
        watching.change(0, machines // 10, "pulling")
        return Watched(machines, calm, watching.cost_of(1), service.rss_mb)


def figures_of(found: Watched, *, is_last: bool) -> list[Figure]:
    """Return what was measured of one fleet, with the targets of the largest."""
    machines, calm, changed = found.machines, found.calm, found.changed
    name = f"{machines:,}"
    idle = sum(count for table, count in calm.written.items() if table != "facts")
    per_look = calm.written["facts"] / calm.looks
    return [
        Figure(
            f"{name}: Novita calls a look",
            f"{calm.calls:g}",
            f"≤ {math.ceil(machines / PAGE_SIZE) + 1}",
        ),
        Figure(
            f"{name}: part of a core",
            f"{100 * calm.share:.1f} %",
            "< 5 %" if is_last else f"every {SHORT_SECONDS} s, none",
        ),
        Figure(f"{name}: RSS", f"{found.rss_mb:.0f} MB", "< 120 MB" if is_last else "none"),
        Figure(
            f"{name}: CPU of a look, nothing changed",
            f"{calm.cpu_seconds:.2f} s",
            "≤ 1 s" if is_last else "none",
        ),
        Figure(
            f"{name}: CPU of a look, {machines // 10:,} changed",
            f"{changed.cpu_seconds:.2f} s",
            "≤ 3 s" if is_last else "none",
        ),
        Figure(
            f"{name}: rows written, nothing changed",
            f"{idle} (and {per_look:g} a look to note the look itself)",
            "0",
        ),
        Figure(
            f"{name}: rows written, {machines // 10:,} changed",
            ", ".join(f"{count:,} {table}" for table, count in changed.written.items() if count),
            "in proportion",
        ),
    ]


def panels(found: list[Watched]) -> list[Panel]:
    """Return what is drawn."""
    return [
        Panel("Novita calls a look", [(e.machines, e.calm.calls) for e in found]),
        Panel(
            "CPU of a look in s, nothing changed",
            [(each.machines, each.calm.cpu_seconds) for each in found],
            limit=1,
        ),
        Panel(
            "CPU of a look in s, a tenth changed",
            [(each.machines, each.changed.cpu_seconds) for each in found],
            limit=3,
        ),
        Panel("a look in s, nothing changed", [(e.machines, e.calm.look_seconds) for e in found]),
        Panel("RSS in MB", [(each.machines, each.rss_mb) for each in found], limit=120),
    ]


if __name__ == "__main__":
    sys.exit(main())
