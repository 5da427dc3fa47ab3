"""Measure webhooks: a long queue for ten receivers, and how soon they tell what has just happened.

A queue of test events is written to a store; then the service starts and sends them, once while all
receivers answer, once while the tenth hangs.  Then instances turn `running`, many at once.  Novita
and the receivers are processes of their own.
"""

import argparse
import json
import secrets
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select

from bench import load, receivers
from bench.figures import Figure, Report, Row, Spread, run
from bench.processes import BenchFailed, Process, Stage, free_port, patience, shell
from gpukeeper.domain import ids
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.store import migrations
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.tables import deliveries, delivery_attempts

RECEIVERS = 10
# Of the bare loop, and about as many as the service has under way to ten prompt receivers.
AT_A_TIME = 128
ORDER = {"name": "bench", "productName": "RTX 4090 24GB", "templateId": "tpl-basic"}
# Longer than any machine of the simulator takes to come up, and shorter than the deadline.
BOOT_SECONDS = 300
# Far more than a queue takes on a busy machine.
PATIENCE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Queue:
    """What became of the nine receivers' deliveries: how many, how late, and at what cost.

    A lag is from the first attempt of the run to the moment at which a delivery was stored as done.
    """

    lags: list[float]
    per_second: float
    cpu_us: float
    rss_mb: float

    def row(self, name: str) -> Row:
        """Return it as a line of the table."""
        return Row(name, Spread.of(self.lags), self.per_second, self.cpu_us, self.rss_mb)


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    parser.add_argument("--deliveries", type=int, default=10_000, help="how many wait (10000)")
    parser.add_argument("--turning", type=int, default=100, help="instances at once (100)")
    parser.add_argument("--rounds", type=int, default=5, help="of instances at once (5)")
    parser.add_argument("--profile", metavar="FILE", help="run the service under cProfile")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Work through a queue twice, and announce what happens."""
    rows: list[Row] = []
    figures: list[Figure] = []
    if arguments.deliveries:
        each = arguments.deliveries // RECEIVERS
        alive = work_through(each, hangs=False, profile=arguments.profile)
        hanging = work_through(each, hangs=True)
        bare = post_bare(each)
        lost = 1 - hanging.per_second / alive.per_second
        rows += [alive.row("queue, all answer"), hanging.row("queue, one hangs"), bare]
        share = alive.per_second / (bare.per_second or 1)
        figures += [
            Figure("webhooks from a queue", f"{alive.per_second}/s", "≥ 300/s"),
            Figure("of a bare loop's, which posts and does nothing else", f"{share:.0%}", "none"),
            Figure("lost by nine while a tenth hangs", f"{100 * lost:.1f} %", "< 5 %"),
        ]
    for turning, rounds in ((1, 4 * arguments.rounds), (arguments.turning, arguments.rounds)):
        if rounds:
            row = announce(turning, rounds)
            rows.append(row)
            measured = f"{row.times.median:.0f} ms in the median, {row.times.p99:.0f} p99"
            figures.append(Figure(row.name, measured, "median ≤ 30 ms, p99 ≤ 150 ms"))
    return Report("webhooks, receivers answer in 20 ms", rows, figures)


def work_through(each: int, *, hangs: bool, profile: str | None = None) -> Queue:
    """Queue ``each`` deliveries for every receiver, and let the service send them."""
    with ExitStack() as stack:
        stage = Stage(stack)
        novita = stage.novita(answer_ms=20)
        urls, _ = start_receivers(stage, RECEIVERS, hangs=hangs)
        database = Database(sqlite_url(stage.data_dir / "gpukeeper.db"))
        stack.callback(database.close)
        migrations.upgrade(database.engine)
        with database.engine.begin() as connection:
            queue(connection, urls, each)
        service = stage.service(novita.url, profile=profile)
        wait_until_sent(database, urls[:-1])
        with database.engine.connect() as connection:
            return queue_of(connection, urls, service)


def post_bare(each: int) -> Row:
    """Post as many bodies to as many receivers with nothing stored, signed or logged."""
    with ExitStack() as stack:
        urls, _ = start_receivers(Stage(stack), RECEIVERS)
        program = ["-m", "bench.posting", ",".join(urls), str(each), str(AT_A_TIME)]
        ran = subprocess.run(
            [sys.executable, *program], env=shell(), capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise BenchFailed(f"the bare loop failed\n{ran.stderr[-2000:]}")
        told = json.loads(ran.stdout)
        times = told["times"]
        return Row(
            "a bare loop, each answer",
            Spread.of(times),
            per_second=round(len(times) / told["seconds"], 1),
            cpu_us=round(told["cpu_seconds"] / len(times) * 1e6),
        )


def start_receivers(stage: Stage, count: int, *, hangs: bool = False) -> tuple[list[str], Path]:
    """Start receivers in a process of their own; return their URLs and what they print."""
    ports = [free_port() for _ in range(count)]
    program = ["-m", "bench.receivers", ",".join(map(str, ports)), *(["--hangs"] * hangs)]
    started = stage.start("receivers", program, ports[0])
    return [f"http://127.0.0.1:{port}/" for port in ports], started.log


def queue(connection: Connection, urls: list[str], each: int) -> None:
    """Store test events, each with one delivery per URL."""
    outbox = Outbox((), 3, lambda prefix, at: ids.new_id(prefix, at, secrets.token_bytes(10)))
    now = datetime.now(UTC)
    for _ in range(each):
        outbox.record_test(connection, [(url, True) for url in urls], now)


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


def queue_of(connection: Connection, urls: list[str], service: Process) -> Queue:
    """Return what the store tells of the run."""
    began_at = connection.scalar(select(func.min(delivery_attempts.c.at)))
    assert began_at is not None, "nothing was sent"
    finished = connection.scalars(
        select(deliveries.c.finished_at).where(
            deliveries.c.url.in_(urls[:-1]),
            deliveries.c.status == DeliveryStatus.DELIVERED.value,
        )
    )
    lags = sorted((at - began_at) / timedelta(seconds=1) for at in finished)
    attempts = connection.scalar(select(func.count()).select_from(delivery_attempts)) or 1
    return Queue(
        lags=lags,
        per_second=round(len(lags) / lags[-1], 1),
        cpu_us=round(service.cpu_seconds / attempts * 1e6),
        rss_mb=service.rss_mb,
    )


def announce(turning: int, rounds: int) -> Row:
    """Let so many instances turn `running` at once, and see when their webhooks come."""
    with ExitStack() as stack:
        stage = Stage(stack)
        novita = stage.novita(answer_ms=20)
        novita.http.post("/_sim/clock", json={"mode": "manual"}).raise_for_status()
        (url,), log = start_receivers(stage, 1)
        service = stage.service(
            novita.url,
            settings={"GPUKEEPER_WEBHOOK_URL": url, "GPUKEEPER_POLL_INTERVAL": "1"},
        )
        cpu = 0.0
        for number in range(rounds):
            orders = [load.request("POST", "/api/instances", body=ORDER)] * turning
            load.ask(service.port, orders, at_a_time=min(turning, 16), status=201)
            # Whatever ordering them has left to do is over by then.
            wait_until_announced(log, "instance.created", (number + 1) * turning)
            cpu -= service.cpu_seconds
            forward = {"advance_seconds": BOOT_SECONDS}
            novita.http.post("/_sim/clock", json=forward).raise_for_status()
            wait_until_announced(log, "instance.running", (number + 1) * turning)
            cpu += service.cpu_seconds
        lags = lags_of(log, "instance.running", at_once=turning)
        return Row(
            f"running seen to webhook, {turning} at once",
            Spread.of(lags),
            cpu_us=round(cpu / len(lags) * 1e6),
            rss_mb=service.rss_mb,
        )


def wait_until_announced(log: Path, event_type: str, count: int) -> None:
    """Wait until so many webhooks of a type have come.  Raises BenchFailed."""
    for _ in patience():
        came = sum(each.event_type == event_type for each in receivers.arrivals(log))
        if came >= count:
            return
    raise BenchFailed(f"{came} of {count} {event_type} have come")


def lags_of(log: Path, event_type: str, *, at_once: int) -> list[float]:
    """Return how many seconds after the first event of their round the webhooks of a type came.

    The first is stored when the look has seen all of the round.
    """
    came = [each for each in receivers.arrivals(log) if each.event_type == event_type]
    rounds = [came[start : start + at_once] for start in range(0, len(came), at_once)]
    return [
        each.arrived_at - seen_at
        for arrivals in rounds
        for seen_at in [min(each.happened_at for each in arrivals)]
        for each in arrivals
    ]


if __name__ == "__main__":
    sys.exit(main())
