"""Measure how much slower reads and orders are while old rows are removed.

The service starts on a store with old events, deliveries and attempts, once to keep them and once
to remove them.  Reads and orders are made one at a time, for as long as the removal lasts.
"""

import argparse
import secrets
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, literal, select, update

from bench.figures import Figure, Report, Row, Spread, run
from bench.order import ORDER
from bench.processes import BenchFailed, Process, Stage
from gpukeeper.domain import ids
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.store import migrations
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.tables import deliveries, delivery_attempts, events

HOOK = "http://127.0.0.1:9/"
AGE = timedelta(days=100)
# Reads between two orders.
READS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """How many seconds reads and orders took, and how many old rows were removed meanwhile."""

    reads: list[float]
    orders: list[float]
    removed: int


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    parser.add_argument("--events", type=int, default=5_000, help="old ones, each delivered (5000)")
    parser.add_argument("--seconds", type=float, default=25, help="of asking, each time (25)")
    parser.add_argument("--novita-ms", type=float, default=20, help="Novita's answer time (20)")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Ask the service with and without the removal."""
    kept, removing = (ask(arguments, days=days) for days in ("0", "90"))
    rows: list[Row] = []
    figures: list[Figure] = []
    for name, before, meanwhile in (
        ("a read", kept.reads, removing.reads),
        ("an order", kept.orders, removing.orders),
    ):
        without, beside = Spread.of(before), Spread.of(meanwhile)
        rows += [Row(name, without), Row(f"{name}, while rows are removed", beside)]
        measured = f"{beside.median / without.median:.2f} times"
        figures.append(Figure(f"{name}, in the median", measured, "≤ 1.2 times"))
    figures.append(
        Figure("removed a second", f"{removing.removed / arguments.seconds:.0f} rows", "none")
    )
    return Report(f"{arguments.events} old events with their deliveries", rows, figures)


def ask(arguments: argparse.Namespace, *, days: str) -> Asked:
    """Start the service on a new store of the same rows, and read and order."""
    with ExitStack() as stack:
        stage = Stage(stack)
        novita = stage.novita(answer_ms=arguments.novita_ms)
        database = Database(sqlite_url(stage.data_dir / "gpukeeper.db"))
        stack.callback(database.close)
        migrations.upgrade(database.engine)
        with database.engine.begin() as connection:
            write_old(connection, arguments.events)
            before = rows_of(connection)
        service = stage.service(novita.url, settings={"GPUKEEPER_RETENTION": days})
        reads: list[float] = []
        orders: list[float] = []
        ends_at = time.monotonic() + arguments.seconds
        path = "/api/instances"
        while time.monotonic() < ends_at:
            headers = {"idempotency-key": secrets.token_hex(16)}
            orders.append(timed(service, "POST", path, json=ORDER, headers=headers))
            reads += [timed(service, "GET", f"{path}?limit=10") for _ in range(READS)]
        with database.engine.connect() as connection:
            return Asked(reads, orders, before - rows_of(connection))


def write_old(connection: Connection, count: int) -> None:
    """Store events that were delivered long ago."""
    at = datetime.now(UTC) - AGE
    outbox = Outbox((), 3, lambda prefix, at: ids.new_id(prefix, at, secrets.token_bytes(10)))
    for number in range(count):
        outbox.record_test(connection, [(HOOK, True)], at + timedelta(seconds=number))
    connection.execute(
        update(deliveries).values(
            status=DeliveryStatus.DELIVERED.value, due_at=None, finished_at=at, attempts=1
        )
    )
    connection.execute(
        insert(delivery_attempts).from_select(
            ["delivery_id", "number", "at", "duration_us", "response_status", "answer"],
            select(
                deliveries.c.id,
                literal(1),
                deliveries.c.created_at,
                literal(20_000),
                literal(204),
                literal(""),
            ),
        )
    )


def rows_of(connection: Connection) -> int:
    """Return how many old rows there are."""
    old = datetime.now(UTC) - AGE / 2
    tables = ((events, events.c.at), (deliveries, deliveries.c.created_at))
    counted = [
        connection.scalar(select(func.count()).select_from(table).where(at < old)) or 0
        for table, at in (*tables, (delivery_attempts, delivery_attempts.c.at))
    ]
    return sum(counted)


def timed(service: Process, method: str, path: str, **details: object) -> float:
    """Ask, and return how many seconds the answer took."""
    began = time.perf_counter()
    answer = service.http.request(method, path, **details)  # type: ignore[arg-type] # handed on
    seconds = time.perf_counter() - began
    if not answer.is_success:
        raise BenchFailed(f"{method} {path}: {answer.status_code} {answer.text}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
