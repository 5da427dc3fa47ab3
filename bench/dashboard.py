"""Measure the dashboard: 500 instances, 50 open pages that follow the events, and a busy fleet.

A store with a day of history is written, the API is started on it, and this program does what the
script of 50 open fleet pages does: it follows the live events and gets its page again after each.
Times are the service's own, from its log.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.figures import Spread
from bench.history import SECRET_KEY, write_history
from bench.processes import API_KEY, BenchFailed, Stage

# The first page is kept while nothing happens: asked for in other words, it is made anew.
ANEW = "/, made anew"
PAGES = ("/", ANEW, "/trends", "/trends?last=week", "/deliveries", "/status")
OTHER_WORDS = tuple(
    f"/?view={view}&name={'machine-'[:length]}"
    for view in ("all", "current", "running")
    for length in range(1, 9)
)
TARGET_MS = 200
# How often each page is asked for alone; the first answer of each fills what is kept.
ROUNDS = 20
# The script gathers events for so long, and asks at most once in a second more.
GATHER_SECONDS, QUIET_SECONDS = 0.25, 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; the service's own times in milliseconds."""

    instances: int
    dashboards: int
    seconds: float
    events: int
    refreshes: int
    alone: dict[str, Spread]
    open_pages: Spread
    cpu_percent: float
    rss_mb_before: float
    rss_mb: float
    load_average: float


def main() -> int:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=500, help="how many there are (500)")
    parser.add_argument("--dashboards", type=int, default=50, help="how many are open (50)")
    parser.add_argument("--seconds", type=float, default=30, help="how long they are open (30)")
    parser.add_argument("--rate", type=float, default=2, help="events per second (2)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    try:
        with ExitStack() as stack:
            figures = measure(stack, arguments)
    except (BenchFailed, httpx2.HTTPError) as failure:
        print(f"✗ {failure!r}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(figures)) if arguments.json else table(figures))
    return 0


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Figures:
    """Start the API on a store with a history, and look at it."""
    stage = Stage(stack)
    running = write_history(stage.data_dir, arguments.instances, urls=("https://hooks.example/",))
    service = stage.service(
        "http://127.0.0.1:9", role="api", settings={"GPUKEEPER_SECRET_KEY": SECRET_KEY}
    )
    http, log = service.http, service.log
    before = service.rss_mb
    for number, path in enumerate(PAGES * ROUNDS):
        asked = OTHER_WORDS[number // len(PAGES)] if path == ANEW else path
        http.get(asked).raise_for_status()
    alone = {path: Spread.of(times) for path, times in server_times(log, PAGES).items()}
    skipped = len(requests_of(log))
    cpu = service.cpu_seconds
    began = time.monotonic()
    events, refreshes = asyncio.run(watch(service.port, running, arguments))
    seconds = time.monotonic() - began
    cpu = service.cpu_seconds - cpu
    times = [ms / 1000 for route, ms in requests_of(log)[skipped:] if route == "/"]
    return Figures(
        instances=arguments.instances,
        dashboards=arguments.dashboards,
        seconds=round(seconds, 1),
        events=events,
        refreshes=refreshes,
        alone=alone,
        open_pages=Spread.of(times),
        cpu_percent=round(100 * cpu / seconds, 1),
        rss_mb_before=before,
        rss_mb=service.rss_mb,
        load_average=round(os.getloadavg()[0], 2),
    )


async def watch(port: int, running: list[str], arguments: argparse.Namespace) -> tuple[int, int]:
    """Keep dashboards open while instances are asked to restart; count events and refreshes."""
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {API_KEY}"},
        limits=httpx2.Limits(max_connections=None),
        timeout=60,
    ) as http:
        counts = defaultdict[str, int](int)
        open_pages = [
            asyncio.create_task(dashboard(http, counts)) for _ in range(arguments.dashboards)
        ]
        ends_at = time.monotonic() + arguments.seconds
        for instance_id in itertools.cycle(running[:: max(len(running) // 200, 1)]):
            if time.monotonic() >= ends_at:
                break
            answer = await http.post(f"/api/instances/{instance_id}/restart", json={})
            counts["events"] += answer.status_code == 202
            await asyncio.sleep(1 / arguments.rate)
        for page in open_pages:
            page.cancel()
        failures = await asyncio.gather(*open_pages, return_exceptions=True)
    for failure in failures:
        if not isinstance(failure, asyncio.CancelledError):
            raise BenchFailed(f"a dashboard ended: {failure!r}")
    return counts["events"], counts["refreshes"]


async def dashboard(http: httpx2.AsyncClient, counts: dict[str, int]) -> None:
    """Do what the page's script does: follow the events, and get the page again after them."""
    is_stale = asyncio.Event()
    is_stale.set()

    async def follow() -> None:
        async with http.stream("GET", "/api/events") as events:
            async for line in events.aiter_lines():
                if line.startswith("data:"):
                    is_stale.set()

    following = asyncio.create_task(follow())
    try:
        while not following.done():
            await is_stale.wait()
            await asyncio.sleep(GATHER_SECONDS * random.uniform(0.5, 1.5))
            is_stale.clear()
            (await http.get("/")).raise_for_status()
            counts["refreshes"] += 1
            await asyncio.sleep(QUIET_SECONDS)
        following.result()
    finally:
        following.cancel()


def requests_of(log: Path) -> list[tuple[str, float]]:
    """Return the route and the milliseconds of every request that was answered."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")
    ]
    return [
        (line["route"], line["duration_ms"]) for line in lines if line.get("event") == "request"
    ]


def server_times(log: Path, paths: tuple[str, ...]) -> dict[str, list[float]]:
    """Return the seconds of each page, which were asked for in turn."""
    routes = {path.partition("?")[0].partition(",")[0] for path in paths}
    asked = [ms / 1000 for route, ms in requests_of(log) if route in routes]
    return {path: asked[number :: len(paths)] for number, path in enumerate(paths)}


def table(figures: Figures) -> str:
    """Return the figures for people."""
    rows = {**figures.alone, f"/ of {figures.dashboards}": figures.open_pages}
    worst = max(spread.p99 for spread in rows.values())
    return "\n".join(
        (
            f"{figures.instances} instances; load {figures.load_average} on {os.cpu_count()} CPUs",
            f"{'ms, in the service':>28}{'median':>9}{'p90':>9}{'p99':>9}",
            *(f"{name:>28}{s.median:9.2f}{s.p90:9.2f}{s.p99:9.2f}" for name, s in rows.items()),
            f"{figures.dashboards} open dashboards for {figures.seconds:.0f} s: {figures.events} "
            f"events, {figures.refreshes} refreshes, {figures.cpu_percent:.0f} % of a core, "
            f"{figures.rss_mb_before:.0f} MB before and {figures.rss_mb:.0f} MB after",
            f"dashboard: {worst:.0f} ms at most in p99 (target: {TARGET_MS})",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
