"""Measure what an order costs on top of Novita's own answer times.

A simulated Novita that takes a fixed time to answer, a webhook listener and the service run as
processes of their own; this program orders: one at a time while the catalog is known, one at a
time while it is not, in a service that has just started, and many at a time.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench import load
from bench.figures import Figure, Report, Row, Spread, run
from bench.processes import BenchFailed, Process, Stage, patience

CREATE = "/gpu-instance/openapi/v1/gpu/instance/create"
ORDER = {"name": "bench", "productName": "RTX 4090 24GB", "templateId": "tpl-basic"}
# What the service buys for ORDER: the direct calls ask for the same.
PURCHASE = {
    "name": "direct",
    "productId": "4090.16c62g",
    "gpuNum": 1,
    "rootfsSize": 60,
    "imageUrl": "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime",
    "clusterId": "cn-hongkong-1",
    "billingMode": "spot",
}
# The first orders connect, compile statements and fetch what is for sale.
WARM_UP_ORDERS = 20
# The service knows products and templates for 30 s; an order that fetches them is not measured.
KNOWN_SECONDS, PAUSE_SECONDS = 27, 4
# Each of them is a question of its own about products, which the catalog keeps apart.
UNKNOWN: list[dict[str, Any]] = [
    ORDER | {"gpuNum": number, "billingMode": mode, "templateId": f"tpl-{mode}-{number}"}
    for number in range(1, 9)
    for mode in ("spot", "onDemand")
]


@dataclass(frozen=True, slots=True)
class Bench:
    """The processes that take part."""

    stage: Stage
    novita: Process
    service: Process


def main() -> int:
    """Measure, and print what came of it."""
    return run(__doc__, measure, add_options)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what may be set."""
    parser.add_argument("--orders", type=int, default=200, help="how many one at a time (200)")
    parser.add_argument("--rounds", type=int, default=3, help="of 16 unknown catalogs (3)")
    parser.add_argument("--starts", type=int, default=5, help="of the service (5)")
    parser.add_argument("--at-a-time", type=int, default=64, help="how many side by side (64)")
    parser.add_argument("--many", type=int, default=1500, help="how many of those (1500)")
    parser.add_argument("--novita-ms", type=float, default=20, help="Novita's answer time (20)")
    parser.add_argument("--profile", metavar="FILE", help="run the service under cProfile")


def measure(stack: ExitStack, arguments: argparse.Namespace) -> Report:
    """Start everything and order in every way."""
    stage = Stage(stack)
    novita = stage.novita(answer_ms=arguments.novita_ms)
    settings = {"GPUKEEPER_WEBHOOK_URL": stage.listener().url}
    for order in UNKNOWN:
        template = {"name": order["templateId"], "image": PURCHASE["imageUrl"]}
        path = f"/_sim/templates/{order['templateId']}"
        novita.http.patch(path, json=template).raise_for_status()
    service = stage.service(novita.url, settings=settings, profile=arguments.profile)
    bench = Bench(stage, novita, service)
    direct, known = one_at_a_time(bench, arguments.orders)
    rows = [direct, on_top("on top, catalog known", known, direct)]
    figures = [
        Figure("on top of Novita's create call", both(rows[1]), "median ≤ 8 ms, p99 ≤ 25 ms")
    ]
    if arguments.rounds:
        unknown = on_top(
            "on top, catalog unknown", catalog_unknown(bench, arguments.rounds), direct, calls=2
        )
        rows.append(unknown)
        figures.append(
            Figure("on top of two calls, catalog unknown", both(unknown), "median ≤ 12 ms")
        )
    if arguments.many:
        many = side_by_side(bench, arguments.many, arguments.at_a_time)
        rows.append(many)
        figures.append(
            Figure(many.name, f"{many.per_second}/s, {both(many)}", "≥ 120/s, p99 ≤ 1 s")
        )
    if arguments.starts:
        first = on_top(
            "on top, first of a process",
            first_orders(bench, arguments.starts, settings),
            direct,
            calls=2,
        )
        rows.append(first)
    return Report(f"orders, Novita answers in {arguments.novita_ms:g} ms", rows, figures)


@dataclass(frozen=True, slots=True)
class Orders:
    """How many seconds some orders took, and what they cost the service's process."""

    seconds: list[float]
    cpu_seconds: float
    rss_mb: float


def on_top(name: str, orders: Orders, direct: Row, *, calls: int = 1) -> Row:
    """Return what orders took beyond so many calls to Novita, one after the other."""
    novita = calls * direct.times.median / 1000
    return Row(
        name,
        Spread.of([seconds - novita for seconds in orders.seconds]),
        per_second=round(len(orders.seconds) / sum(orders.seconds), 1),
        cpu_us=round(orders.cpu_seconds / len(orders.seconds) * 1e6),
        rss_mb=orders.rss_mb,
    )


def both(row: Row) -> str:
    """Return median and p99 for people."""
    return f"{row.times.median:.1f} ms in the median, {row.times.p99:.1f} p99"


def one_at_a_time(bench: Bench, orders: int) -> tuple[Row, Orders]:
    """Ask Novita directly and order, in turn, while products and templates are known."""
    direct: list[float] = []
    ordered: list[float] = []
    cpu = 0.0
    while len(ordered) < orders:
        if ordered:
            time.sleep(PAUSE_SECONDS)
        known_until = warm_up(bench)
        cpu -= bench.service.cpu_seconds
        while len(ordered) < orders and time.monotonic() < known_until:
            direct.append(ask_novita(bench))
            ordered.append(place_order(bench.service, ORDER))
        wait_until_delivered(bench.service)
        cpu += bench.service.cpu_seconds
    row = Row("Novita alone", Spread.of(direct), per_second=round(len(direct) / sum(direct), 1))
    return row, Orders(ordered, cpu, bench.service.rss_mb)


def catalog_unknown(bench: Bench, rounds: int) -> Orders:
    """Order what has not been asked for within the last 30 s; the regions alone are known."""
    seconds: list[float] = []
    cpu = 0.0
    for _ in range(rounds):
        time.sleep(KNOWN_SECONDS + PAUSE_SECONDS)
        cpu -= bench.service.cpu_seconds
        seconds += [place_order(bench.service, order) for order in UNKNOWN]
        wait_until_delivered(bench.service)
        cpu += bench.service.cpu_seconds
    return Orders(seconds, cpu, bench.service.rss_mb)


def first_orders(bench: Bench, starts: int, settings: dict[str, str]) -> Orders:
    """Order once in each of some processes that have just started and know nothing."""
    seconds: list[float] = []
    cpu, rss_mb = 0.0, 0.0
    for number in range(starts):
        with ExitStack() as stack:
            stage = Stage(stack)
            service = stage.service(bench.novita.url, settings=settings, name=f"first-{number}")
            cpu -= service.cpu_seconds
            seconds.append(place_order(service, ORDER))
            wait_until_delivered(service)
            cpu += service.cpu_seconds
            rss_mb = max(rss_mb, service.rss_mb)
    return Orders(seconds, cpu, rss_mb)


def side_by_side(bench: Bench, orders: int, at_a_time: int) -> Row:
    """Place many orders at a time."""
    cpu = bench.service.cpu_seconds
    began = time.monotonic()
    seconds = load.ask(bench.service.port, requests(orders), at_a_time=at_a_time, status=201)
    took = time.monotonic() - began
    wait_until_delivered(bench.service)
    cpu = bench.service.cpu_seconds - cpu
    return Row(
        f"an order, {at_a_time} at a time",
        Spread.of(seconds),
        per_second=round(orders / took, 1),
        cpu_us=round(cpu / orders * 1e6),
        rss_mb=bench.service.rss_mb,
    )


def requests(orders: int) -> Iterator[bytes]:
    """Yield orders, each with an idempotency key of its own."""
    for _ in range(orders):
        key = {"idempotency-key": os.urandom(16).hex()}
        yield load.request("POST", "/api/instances", body=ORDER, headers=key)


def warm_up(bench: Bench) -> float:
    """Order until nothing is done for the first time; return how long the catalog is known."""
    known_from = time.monotonic()
    for _ in range(WARM_UP_ORDERS):
        ask_novita(bench)
        place_order(bench.service, ORDER)
    wait_until_delivered(bench.service)
    return known_from + KNOWN_SECONDS


def ask_novita(bench: Bench) -> float:
    """Buy a machine without the service; return how many seconds that took."""
    started_at = time.perf_counter()
    answer = bench.novita.http.post(CREATE, json=PURCHASE)
    seconds = time.perf_counter() - started_at
    if answer.status_code != 200:
        raise BenchFailed(f"Novita answered {answer.status_code}: {answer.text}")
    return seconds


def place_order(service: Process, order: dict[str, Any]) -> float:
    """Order a machine as a client does; return how many seconds that took."""
    headers = {"idempotency-key": os.urandom(16).hex()}
    started_at = time.perf_counter()
    answer = service.http.post("/api/instances", json=order, headers=headers)
    seconds = time.perf_counter() - started_at
    if answer.status_code != 201:
        raise BenchFailed(f"the service answered {answer.status_code}: {answer.text}")
    return seconds


def wait_until_delivered(service: Process) -> None:
    """Wait for the last webhooks: what they cost belongs to their orders."""
    for _ in patience():
        summary = service.http.get("/health").json()
        if not summary["deliveries"]["pending"]:
            return
    raise BenchFailed("webhooks are still pending")


if __name__ == "__main__":
    sys.exit(main())
