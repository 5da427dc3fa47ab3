"""Measure a start: from the process's beginning to its first good answer of `/health/ready`.

The service starts on an empty data directory, and on a store with thousands of instances and the
events of a long time.
"""

import argparse
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Report, Row, Spread, run
from bench.history import SECRET_KEY, write_history
from bench.processes import Process, Stage


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    parser.add_argument("--starts", type=int, default=10, help="of each kind (10)")
    parser.add_argument("--instances", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--events", type=int, default=100_000, help="how many (100000)")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Start the service on both stores, in turn."""
    stage = Stage(stack)
    novita = stage.novita(answer_ms=20)
    write_history(stage.data_dir, arguments.instances, events=arguments.events)
    python: list[float] = []
    empty: list[Start] = []
    full: list[Start] = []
    for _ in range(arguments.starts):
        python.append(start_python())
        empty.append(start(novita, None))
        full.append(start(novita, stage.data_dir))
    many = f"{arguments.instances} instances, {arguments.events} events"
    rows = [
        Row("Python alone", Spread.of(python)),
        row("empty", empty),
        row(many, full),
    ]
    targets = {"empty": "≤ 1.5 s", many: "≤ 2.5 s"}
    figures = [
        Figure(f"ready, {each.name}", f"{each.times.median / 1000:.2f} s", targets[each.name])
        for each in rows[1:]
    ]
    return Report(f"{arguments.starts} starts of each kind", rows, figures)


@dataclass(frozen=True, slots=True)
class Start:
    """How long a start took, and what it cost."""

    seconds: float
    cpu_seconds: float
    rss_mb: float


def start(novita: Process, data_dir: Path | None) -> Start:
    """Start the service on a store, or on none, and end it again."""
    with ExitStack() as stack:
        stage = Stage(stack)
        settings = {"GPUKEEPER_SECRET_KEY": SECRET_KEY}
        if data_dir is not None:
            settings["GPUKEEPER_DATA_DIR"] = str(data_dir)
        began = time.monotonic()
        service = stage.service(novita.url, settings=settings)
        return Start(time.monotonic() - began, service.cpu_seconds, service.rss_mb)


def start_python() -> float:
    """Start an interpreter that does nothing: what any Python program takes."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.monotonic() - began


def row(name: str, starts: list[Start]) -> Row:
    """Return some starts as one line of the table."""
    return Row(
        name,
        Spread.of([each.seconds for each in starts]),
        cpu_us=round(statistics.mean(each.cpu_seconds for each in starts) * 1e6),
        rss_mb=max(each.rss_mb for each in starts),
    )


if __name__ == "__main__":
    sys.exit(main())
