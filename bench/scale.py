"""Measure three replicas on one PostgreSQL that watch up to 100,000 machines.

For each size of fleet there is a new database, a Novita with as many machines, and three replicas;
one of them looks while all of them take orders and send webhooks.
"""

import argparse
import secrets
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from bench.figures import Figure, Report, Row, Spread, run
from bench.fleet import SETTINGS, write_fleet
from bench.looks import Cost, Watch, start_novita, tell
from bench.order import ORDER
from bench.plots import Panel, draw
from bench.processes import BenchFailed, Process, Stage
from bench.receivers import arrivals
from bench.webhooks import start_receivers
from gpukeeper.store.db.database import Database
from tests.postgres import Databases, Server

REPLICAS = 3
# As a server is set up, unlike that of the tests: what is committed is on the disk.
SERVER_SETTINGS = ("max_connections=100", "shared_buffers=256MB")
# After one look the next begins soon, so that looking is most of what is measured.
INTERVAL_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Scaled:
    """What a fleet of so many machines costs; times of the orders that were placed meanwhile."""

    machines: int
    calm: Cost
    busy: Cost
    changed: Cost
    orders: list[float]
    lags: list[float]
    rss_mb: float


@dataclass(slots=True)
class Orders:
    """Somebody who orders from one replica after the other, until told to stop."""

    replicas: list[Process]
    per_second: float
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def place(self) -> None:
        """Order at a steady pace, whatever the answers take."""
        for number in range(sys.maxsize):
            if self.is_over.wait(1 / self.per_second):
                return
            replica = self.replicas[number % len(self.replicas)]
            headers = {"idempotency-key": secrets.token_hex(16)}
            began = time.perf_counter()
            try:
                answer = replica.http.post("/api/instances", json=ORDER, headers=headers)
            except httpx2.HTTPError as error:
                self.failures.append(repr(error))
                continue
            self.seconds.append(time.perf_counter() - began)
            if answer.status_code != 201:
                self.failures.append(f"{answer.status_code}: {answer.text}")


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    sizes = [1_000, 10_000, 30_000, 100_000]
    parser.add_argument("--machines", type=int, nargs="+", default=sizes, help="fleets, ascending")
    parser.add_argument("--looks", type=int, default=2, help="at each fleet, of each kind (2)")
    parser.add_argument("--orders", type=float, default=2, help="a second meanwhile (2)")
    parser.add_argument("--novita-ms", type=float, default=20, help="Novita's answer time (20)")
    parser.add_argument("--plot", metavar="FILE", help="draw the costs against N as SVG")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Watch fleets of all sizes, one after the other, on one server."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    server = stack.enter_context(Server(folder, SERVER_SETTINGS))
    server.create()
    server.start()
    databases = Databases(server.url)
    found: list[Scaled] = []
    for machines in arguments.machines:
        found.append(scale(databases, machines, arguments))
        tell(rows(found[-1]), figures(found[-1], is_last=False))
    if arguments.plot:
        Path(arguments.plot).write_text(draw(panels(found), of="machines that are starting"))
    return Report(
        f"{REPLICAS} replicas, Novita answers in {arguments.novita_ms:g} ms",
        [row for each in found for row in rows(each)],
        [figure for each in found for figure in figures(each, is_last=each is found[-1])],
    )


def scale(databases: Databases, machines: int, arguments: argparse.Namespace) -> Scaled:
    """Watch a fleet of so many machines, idle, with a tenth changed, and beside orders."""
    with ExitStack() as stack:
        url = stack.enter_context(databases.new())
        database = Database(url)
        stack.callback(database.close)
        write_fleet(database, machines)
        stage = Stage(stack)
        novita = start_novita(stage, machines, answer_ms=arguments.novita_ms)
        (hook,), heard = start_receivers(stage, 1)
        replicas = [
            stage.service(
                novita.url,
                name=f"replica-{number}",
                settings={
                    **SETTINGS,
                    "GPUKEEPER_DATABASE_URL": url,
                    "GPUKEEPER_DATA_DIR": str(stage.folder / f"data-{number}"),
                    "GPUKEEPER_POLL_INTERVAL": str(INTERVAL_SECONDS),
                    "GPUKEEPER_WEBHOOK_URL": hook,
                },
            )
            for number in range(REPLICAS)
        ]
        watching = Watch(novita, database, replicas)
        # The first look finds the first page and compiles statements.
        watching.wait_for_look()
        calm = watching.cost_of(arguments.looks)
        orders = Orders(replicas, arguments.orders)
        ordering = threading.Thread(target=orders.place)
        ordering.start()
        try:
            busy = watching.cost_of(arguments.looks)
        finally:
            orders.is_over.set()
            ordering.join()
        if orders.failures:
            raise BenchFailed(f"{len(orders.failures)} orders failed: {orders.failures[0]}")
        lags = [each.arrived_at - each.happened_at for each in arrivals(heard)]
        watching.change(0, machines // 10, "pulling")
        changed = watching.cost_of(1)
        rss_mb = max(replica.rss_mb for replica in replicas)
        return Scaled(machines, calm, busy, changed, orders.seconds, lags, rss_mb)


def rows(found: Scaled) -> list[Row]:
    """Return the times of orders and webhooks beside the looks."""
    name = f"{found.machines:,}"
    return [
        Row(f"{name}: an order, in all", Spread.of(found.orders)),
        Row(f"{name}: event to webhook", Spread.of(found.lags)),
    ]


def figures(found: Scaled, *, is_last: bool) -> list[Figure]:
    """Return what was measured of one fleet, with the targets of the largest."""
    name, tenth = f"{found.machines:,}", f"{found.machines // 10:,}"
    each_us = 1e6 * found.calm.cpu_seconds / found.machines
    events = found.changed.written["events"]
    limit = "≤ 30 s" if is_last else "none"
    return [
        Figure(f"{name}: a look", f"{found.calm.look_seconds:.1f} s", limit),
        Figure(f"{name}: a look beside orders", f"{found.busy.look_seconds:.1f} s", limit),
        Figure(f"{name}: a look, {tenth} changed", f"{found.changed.look_seconds:.1f} s", "none"),
        Figure(f"{name}: CPU of a look", f"{found.calm.cpu_seconds:.1f} s", "none"),
        Figure(f"{name}: CPU for each machine", f"{each_us:.0f} µs", "the same for all"),
        Figure(f"{name}: Novita calls a look", f"{found.calm.calls:g}", "a hundredth, and 1"),
        Figure(f"{name}: events stored, {tenth} changed", f"{events:,}", f"{tenth} at least"),
        Figure(f"{name}: RSS of the largest", f"{found.rss_mb:.0f} MB", "none"),
    ]


def panels(found: list[Scaled]) -> list[Panel]:
    """Return what is drawn."""
    return [
        Panel(
            "a look in s, nothing changed",
            [(each.machines, each.calm.look_seconds) for each in found],
            limit=30,
        ),
        Panel(
            "CPU for each machine and look in µs",
            [(each.machines, 1e6 * each.calm.cpu_seconds / each.machines) for each in found],
        ),
        Panel("Novita calls a look", [(each.machines, each.calm.calls) for each in found]),
        Panel("RSS of the largest replica in MB", [(e.machines, e.rss_mb) for e in found]),
    ]


if __name__ == "__main__":
    sys.exit(main())
