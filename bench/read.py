"""Measure reads: one instance and a page of a hundred, beside a bare route with the same JSON.

The service has a store with a history.  Both it and a bare FastAPI application that returns the
same objects from memory are asked in turn, over kept connections, by this program.  At the end the
service is asked once more while another process changes its store all the time, so that next to
nothing of what was read can be kept.
"""

import argparse
import json
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from bench import load, writing
from bench.figures import Figure, Report, Row, Spread, run
from bench.history import SECRET_KEY, write_history
from bench.processes import BenchFailed, Process, Stage, free_port, patience

WARM_UP_REQUESTS = 200
# As many as a fleet of some thousand machines has while they start.
COMMITS_PER_SECOND = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """How long the answers of one process took, and what they cost it."""

    seconds: list[float]
    per_second: float
    cpu_us: float
    rss_mb: float


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    parser.add_argument("--instances", type=int, default=1000, help="how many there are (1000)")
    parser.add_argument("--requests", type=int, default=6000, help="for one instance (6000)")
    parser.add_argument("--pages", type=int, default=300, help="of 100 instances (300)")
    parser.add_argument("--at-a-time", type=int, default=32, help="how many side by side (32)")
    parser.add_argument("--rounds", type=int, default=6, help="in turn with the bare route (6)")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Ask both for one instance, then for a page."""
    stage = Stage(stack)
    running = write_history(stage.data_dir, arguments.instances)
    service = stage.service(
        "http://127.0.0.1:9", role="api", settings={"GPUKEEPER_SECRET_KEY": SECRET_KEY}
    )
    rounds, at_a_time = arguments.rounds, arguments.at_a_time
    one, bare_one = beside_bare(
        stage, service, f"/api/instances/{running[0]}", arguments.requests, at_a_time, rounds
    )
    page, bare_page = beside_bare(
        stage, service, "/api/instances?limit=100", arguments.pages, 1, rounds
    )
    begin_writing(stage)
    busy_one = several(
        service, f"/api/instances/{running[0]}", arguments.requests, at_a_time, rounds
    )
    busy_page = several(service, "/api/instances?limit=100", arguments.pages, 1, rounds)
    rows = [
        row(f"one instance, {at_a_time} at a time", one),
        row("the same JSON, bare", bare_one),
        row("100 instances", page),
        row("the same 100 objects, bare", bare_page),
        row(f"one instance, {COMMITS_PER_SECOND} commits a second", busy_one),
        row("100 instances, likewise", busy_page),
    ]
    share = statistics.median(
        own.per_second / bare.per_second for own, bare in zip(one, bare_one, strict=True)
    )
    # The CPU clock is too coarse for a ratio of each round.
    cpu = sum(own.cpu_us for own in page) / sum(bare.cpu_us for bare in bare_page)
    figures = [
        Figure("one instance, of the bare route's requests a second", f"{share:.0%}", "≥ 60 %"),
        Figure("100 instances, CPU of the bare route's", f"{cpu:.2f} times", "≤ 1.3 times"),
    ]
    return Report(f"reads, {arguments.instances} instances", rows, figures)


def beside_bare(
    stage: Stage, service: Process, path: str, requests: int, at_a_time: int, rounds: int
) -> tuple[list[Asked], list[Asked]]:
    """Ask the service and a bare route that returns the same, in turn, so that both meet the same.

    A ratio of each round is fairer than one of all: whatever else the machine does comes and goes.
    """
    answer = service.http.get(path)
    answer.raise_for_status()
    port = free_port()
    file = stage.folder / f"bare-{port}.json"
    file.write_text(json.dumps(answer.json()))
    bare = stage.start(f"bare-{port}", ["-m", "bench.bare", str(port), str(file)], port)
    bare.wait_until("/")
    own: list[Asked] = []
    others: list[Asked] = []
    for process, asked_path in ((service, path), (bare, "/")):
        ask(process, asked_path, WARM_UP_REQUESTS, at_a_time)
    for _ in range(rounds):
        own.append(ask(service, path, requests // rounds, at_a_time))
        others.append(ask(bare, "/", requests // rounds, at_a_time))
    return own, others


def begin_writing(stage: Stage) -> None:
    """Have another process change the store from now on."""
    file = stage.data_dir / "gpukeeper.db"
    arguments = ["-m", "bench.writing", str(file), str(COMMITS_PER_SECOND)]
    writer = stage.start("writer", arguments, free_port())
    for _ in patience():
        if writing.BEGUN in writer.log.read_text():
            return
    raise BenchFailed(f"nothing is written\n{writer.log.read_text()[-2000:]}")


def several(service: Process, path: str, requests: int, at_a_time: int, rounds: int) -> list[Asked]:
    """Ask the service alone."""
    return [ask(service, path, requests // rounds, at_a_time) for _ in range(rounds)]


def ask(process: Process, path: str, requests: int, at_a_time: int) -> Asked:
    """Ask one process for one path again and again."""
    cpu, began = process.cpu_seconds, time.monotonic()
    asked = [load.request("GET", path)] * requests
    seconds = load.ask(process.port, asked, at_a_time=at_a_time)
    took = time.monotonic() - began
    cpu = process.cpu_seconds - cpu
    return Asked(seconds, requests / took, cpu / requests * 1e6, process.rss_mb)


def row(name: str, rounds: list[Asked]) -> Row:
    """Return all rounds as one line of the table."""
    return Row(
        name,
        Spread.of([seconds for each in rounds for seconds in each.seconds]),
        per_second=round(statistics.median(each.per_second for each in rounds), 1),
        cpu_us=round(statistics.mean(each.cpu_us for each in rounds)),
        rss_mb=rounds[-1].rss_mb,
    )


if __name__ == "__main__":
    sys.exit(main())
