"""Measure whether one receiver that hangs delays the webhooks of nine others.

A queue of test events for ten receivers, which run in a process of their own, is written to a
store; then the service starts and sends them.  Once all ten answer, once the tenth hangs.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from sqlalchemy import func, select

from bench.order import (
    API_KEY,
    GPUKEEPER,
    BenchFailed,
    Spread,
    client,
    free_port,
    process,
    wait_until_up,
)
from gpukeeper.domain import ids
from gpukeeper.domain.events import DeliveryStatus
from gpukeeper.store import migrations
from gpukeeper.store.database import Connection, Database, sqlite_url
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.tables import deliveries, delivery_attempts

RECEIVERS = 10
ANSWER_SECONDS = 0.02
HANG_SECONDS = 10
# Far more than a queue takes on a busy machine.
PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the nine receivers' deliveries: how many a second, and how late in ms.

    A lag is from the first attempt of the run to the moment at which a delivery was stored as done.
    """

    deliveries: int
    per_second: float
    lag: Spread
    max_lag: float
    to_the_tenth: int


def main() -> int:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--deliveries", type=int, default=10_000, help="how many are queued (10000)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--receive", metavar="PORTS", help=argparse.SUPPRESS)
    parser.add_argument("--hangs", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        asyncio.run(receive([int(port) for port in arguments.receive.split(",")], arguments.hangs))
        return 0
    load_average = round(os.getloadavg()[0], 2)
    try:
        alive = measure(arguments.deliveries // RECEIVERS, hangs=False)
        hanging = measure(arguments.deliveries // RECEIVERS, hangs=True)
    except (BenchFailed, httpx2.HTTPError) as failure:
        print(f"✗ {failure!r}", file=sys.stderr)
        return 1
    if arguments.json:
        runs = {"alive": asdict(alive), "hanging": asdict(hanging)}
        print(json.dumps(runs | {"load_average": load_average}))
    else:
        print(table(alive, hanging, load_average))
    return 0


async def receive(ports: list[int], hangs: bool) -> None:
    """Answer every webhook on these ports after a while; the last one hangs, if asked to."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        seconds = HANG_SECONDS if hangs and port == ports[-1] else ANSWER_SECONDS
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(seconds)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        writer.close()

    for port in ports:
        await asyncio.start_server(converse, "127.0.0.1", port)
    await asyncio.Event().wait()


def measure(each: int, *, hangs: bool) -> Figures:
    """Queue ``each`` deliveries for every receiver, and let the service send them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpukeeper-bench-")))
        ports = [free_port() for _ in range(RECEIVERS)]
        urls = [f"http://127.0.0.1:{port}/" for port in ports]
        data_dir = folder / "data"
        data_dir.mkdir(mode=0o700)
        database = Database(sqlite_url(data_dir / "gpukeeper.db"))
        stack.callback(database.close)
        migrations.upgrade(database.engine)
        with database.engine.begin() as connection:
            queue(connection, urls, each)
        receivers = [str(Path(__file__)), "--receive", ",".join(map(str, ports))]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
        options = ["--hangs"] if hangs else []
        stack.enter_context(process([*receivers, *options], env, folder / "receivers.log"))
        serve(stack, folder, data_dir)
        wait_until_sent(database, urls[:-1])
        with database.engine.connect() as connection:
            return figures_of(connection, urls)


def new_id(prefix: str, at: datetime) -> str:
    """Return an id that sorts by time."""
    return ids.new_id(prefix, at, secrets.token_bytes(10))


def queue(connection: Connection, urls: list[str], each: int) -> None:
    """Store test events, each with one delivery per URL."""
    outbox = Outbox((), 3, new_id)
    now = datetime.now(UTC)
    for _ in range(each):
        outbox.record_test(connection, [(url, True) for url in urls], now)


def serve(stack: ExitStack, folder: Path, data_dir: Path) -> None:
    """Start the service on the store, and a Novita with nothing to tell beside it."""
    novita, port = free_port(), free_port()
    foreign = ("GPUKEEPER_", "NOVITA_")
    shell = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env = shell | {
        "NOVITA_API_KEY": "simulated",
        "NOVITA_BASE_URL": f"http://127.0.0.1:{novita}",
        "GPUKEEPER_API_KEYS": API_KEY,
        "GPUKEEPER_DATA_DIR": str(data_dir),
        "GPUKEEPER_PORT": str(port),
        "GPUKEEPER_LOG_FORMAT": "json",
    }
    simulate = [*GPUKEEPER, "simulate", "--port", str(novita)]
    stack.enter_context(process(simulate, env, folder / "novita.log"))
    service = stack.enter_context(process([*GPUKEEPER, "serve"], env, folder / "service.log"))
    http = stack.enter_context(client(port, key=API_KEY))
    wait_until_up(service, http, "/health/live", folder / "service.log")


def wait_until_sent(database: Database, urls: list[str]) -> None:
    """Wait until nothing is pending for these URLs.  Raises BenchFailed."""
    pending = select(func.count()).where(
        deliveries.c.url.in_(urls), deliveries.c.status == DeliveryStatus.PENDING.value
    )
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        with database.engine.connect() as connection:
            if not connection.scalar(pending):
                return
        time.sleep(0.5)
    raise BenchFailed("deliveries are still pending")


def figures_of(connection: Connection, urls: list[str]) -> Figures:
    """Return what the store tells of the run."""
    began_at = connection.scalar(select(func.min(delivery_attempts.c.at)))
    assert began_at is not None, "nothing was sent"
    is_delivered = deliveries.c.status == DeliveryStatus.DELIVERED.value
    finished = connection.scalars(
        select(deliveries.c.finished_at).where(deliveries.c.url.in_(urls[:-1]), is_delivered)
    )
    lags = sorted((at - began_at) / timedelta(seconds=1) for at in finished)
    of_tenth = connection.scalar(
        select(func.count()).where(deliveries.c.url == urls[-1], is_delivered)
    )
    return Figures(
        deliveries=len(lags),
        per_second=round(len(lags) / lags[-1], 1),
        lag=Spread.of(lags),
        max_lag=round(lags[-1] * 1000, 2),
        to_the_tenth=of_tenth or 0,
    )


def table(alive: Figures, hanging: Figures, load_average: float) -> str:
    """Return the figures for people."""
    rows = {"all answer": alive, "one hangs": hanging}
    return "\n".join(
        (
            f"{alive.deliveries} deliveries to nine of ten receivers; "
            f"load {load_average} on {os.cpu_count()} CPUs",
            f"{'lag in s':>12}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}{'per second':>12}",
            *(
                f"{name:>12}{run.lag.median / 1000:8.2f}{run.lag.p90 / 1000:8.2f}"
                f"{run.lag.p99 / 1000:8.2f}{run.max_lag / 1000:8.2f}{run.per_second:12.1f}"
                for name, run in rows.items()
            ),
            f"one hangs: {hanging.per_second / alive.per_second:.2f} of the deliveries a second; "
            f"the slowest came {hanging.max_lag / alive.max_lag:.2f} times as late",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
