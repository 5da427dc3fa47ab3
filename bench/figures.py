"""What benchmarks print: a table of times, CPU and memory, and each figure beside its target."""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import httpx2

from bench.processes import BenchFailed


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the slow end of some times, in milliseconds."""

    median: float
    p90: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """Return the spread of times given in seconds."""
        cuts = statistics.quantiles(seconds, n=100, method="inclusive")
        return cls(*(round(cut * 1000, 2) for cut in (cuts[49], cuts[89], cuts[98])))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what was done, how long it took, and what it cost the process.

    ``cpu_us`` is the CPU of the process that is measured, in microseconds for each operation.
    """

    name: str
    times: Spread
    per_second: float | None = None
    cpu_us: float | None = None
    rss_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure beside its target, both as people read them."""

    name: str
    measured: str
    target: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a benchmark has measured."""

    heading: str
    rows: Sequence[Row]
    figures: Sequence[Figure]


def run(
    document: str,
    measure: Callable[[ExitStack, argparse.Namespace], Report],
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Measure as the command line says, print what came of it, and return the exit status.

    A figure that misses its target is no failure.
    """
    parser = argparse.ArgumentParser(description=document.splitlines()[0])
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    load_average = round(os.getloadavg()[0], 2)
    try:
        with ExitStack() as stack:
            report = measure(stack, arguments)
    except (BenchFailed, httpx2.HTTPError) as failure:
        print(f"✗ {failure!r}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(asdict(report) | {"load_average": load_average}))
    else:
        print(f"{report.heading}; load {load_average} on {os.cpu_count()} CPUs\n{text(report)}")
    return 0


def text(report: Report) -> str:
    """Return the figures for people."""
    width = max((len(row.name) for row in report.rows), default=0) + 2
    titles = ("median ms", "p90 ms", "p99 ms", "per second", "CPU µs each", "RSS MB")
    lines = [" " * width + "".join(f"{title:>13}" for title in titles)] if report.rows else []
    for row in report.rows:
        cells = [f"{time:13.2f}" for time in (row.times.median, row.times.p90, row.times.p99)]
        cells += [_cell(row.per_second, 1), _cell(row.cpu_us, 0), _cell(row.rss_mb, 0)]
        lines.append(f"{row.name:<{width}}{''.join(cells)}")
    lines += [f"{each.name}: {each.measured} (target: {each.target})" for each in report.figures]
    return "\n".join(lines)


def _cell(value: float | None, digits: int) -> str:
    return f"{'-' if value is None else format(value, f',.{digits}f'):>13}"
