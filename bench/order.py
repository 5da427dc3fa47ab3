"""Measure what an order costs on top of Novita's own answer time.

A simulated Novita that takes a fixed time to sell, a webhook receiver and the service run as
processes of their own; this program orders, one at a time, and asks Novita directly in between.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx2

GPUKEEPER = ["-m", "gpukeeper"]
API_KEY = "a-key-for-the-benchmark"
CREATE = "/gpu-instance/openapi/v1/gpu/instance/create"
# What the service buys for ORDER, so that the direct calls ask for the same.
PURCHASE = {
    "name": "direct",
    "productId": "4090.16c62g",
    "gpuNum": 1,
    "rootfsSize": 60,
    "imageUrl": "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime",
    "ports": "8000/http,22/tcp",
    "envs": [{"key": "MODE", "value": "serve"}, {"key": "WORKERS", "value": "2"}],
    "command": "python -m http.server 8000",
    "clusterId": "cn-hongkong-1",
    "billingMode": "spot",
    "kind": "gpu",
    "minCudaVersion": "12.4",
}
ORDER = {"productName": "RTX 4090 24GB", "templateId": "tpl-basic"}
# The target: what an order may cost on top, in the median, on an idle machine.
TARGET_MS = 15
# The first orders connect, compile statements and fetch what is for sale.
WARM_UP_ORDERS = 20
# The service knows products and templates for 30 s; an order that fetches them is not measured.
CATALOG_SECONDS = 30
CATALOG_MARGIN_SECONDS = 3
# What is waited for here takes a second or two, unless the machine is very busy.
PATIENCE_SECONDS = 60


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
class Figures:
    """What was measured; times in milliseconds, ``cpu_us_per_order`` of the service alone."""

    orders: int
    novita: Spread
    order: Spread
    on_top: Spread
    orders_per_second: float
    cpu_us_per_order: int
    rss_mb: float
    load_average: float


@dataclass(frozen=True, slots=True)
class Bench:
    """The processes, and a kept-alive connection to each that is asked."""

    service: subprocess.Popen[bytes]
    to_service: httpx2.Client
    to_novita: httpx2.Client


class BenchFailed(Exception):
    """Something that is measured did not work."""


def main() -> int:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=200, help="how many are measured (200)")
    parser.add_argument("--novita-ms", type=float, default=20, help="Novita's answer time (20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--profile", metavar="FILE", help="run the service under cProfile")
    arguments = parser.parse_args()
    if arguments.orders < 2:
        parser.error("--orders: at least 2")
    try:
        with ExitStack() as stack:
            bench = start(stack, novita_ms=arguments.novita_ms, profile=arguments.profile)
            figures = measure(bench, arguments.orders)
    except (BenchFailed, httpx2.HTTPError) as failure:
        print(f"✗ {failure!r}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(figures)) if arguments.json else table(figures))
    return 0


def start(stack: ExitStack, *, novita_ms: float, profile: str | None) -> Bench:
    """Start Novita, the receiver and the service; all end with ``stack``."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpukeeper-bench-")))
    novita, port = free_port(), free_port()
    hook = stack.enter_context(receiver())
    env = os.environ | {
        "NOVITA_API_KEY": "simulated",
        "NOVITA_BASE_URL": f"http://127.0.0.1:{novita}",
        "GPUKEEPER_API_KEYS": API_KEY,
        "GPUKEEPER_DATA_DIR": str(folder / "data"),
        "GPUKEEPER_PORT": str(port),
        "GPUKEEPER_NOVITA_RATE": "100000",
        "GPUKEEPER_WEBHOOK_URL": f"http://127.0.0.1:{hook}/",
        "GPUKEEPER_LOG_FORMAT": "json",
    }
    profiling = ["-m", "cProfile", "-o", profile] if profile else []
    simulate = [*GPUKEEPER, "simulate", "--port", str(novita)]
    simulator = stack.enter_context(process(simulate, env, folder / "novita.log"))
    service = stack.enter_context(
        process([*profiling, *GPUKEEPER, "serve"], env, folder / "service.log")
    )
    to_novita = stack.enter_context(client(novita, key="simulated"))
    to_service = stack.enter_context(client(port, key=API_KEY))
    wait_until_up(simulator, to_novita, "/_sim", folder / "novita.log")
    wait_until_up(service, to_service, "/health/ready", folder / "service.log")
    slow = {"kind": "slow", "route": "create", "seconds": novita_ms / 1000}
    to_novita.post("/_sim/faults", json=slow).raise_for_status()
    return Bench(service, to_service, to_novita)


def measure(bench: Bench, orders: int) -> Figures:
    """Ask Novita directly and order, in turn."""
    load_average = os.getloadavg()[0]
    direct: list[float] = []
    ordered: list[float] = []
    cpu_seconds = 0.0
    while len(ordered) < orders:
        if ordered:
            time.sleep(2 * CATALOG_MARGIN_SECONDS)
        known_until = warm_up(bench)
        cpu_seconds -= cpu_seconds_of(bench.service.pid)
        while len(ordered) < orders and time.monotonic() < known_until:
            direct.append(ask_novita(bench))
            ordered.append(place_order(bench))
        wait_until_delivered(bench)
        cpu_seconds += cpu_seconds_of(bench.service.pid)
    novita = statistics.median(direct)
    return Figures(
        orders=orders,
        novita=Spread.of(direct),
        order=Spread.of(ordered),
        on_top=Spread.of([seconds - novita for seconds in ordered]),
        orders_per_second=round(orders / sum(ordered), 1),
        cpu_us_per_order=round(cpu_seconds / orders * 1_000_000),
        rss_mb=round(rss_bytes_of(bench.service.pid) / 1_000_000, 1),
        load_average=round(load_average, 2),
    )


def warm_up(bench: Bench) -> float:
    """Order until nothing is done for the first time; return how long the catalog is known."""
    known_from = time.monotonic()
    for _ in range(WARM_UP_ORDERS):
        ask_novita(bench)
        place_order(bench)
    wait_until_delivered(bench)
    return known_from + CATALOG_SECONDS - CATALOG_MARGIN_SECONDS


def ask_novita(bench: Bench) -> float:
    """Buy a machine without the service; return how many seconds that took."""
    started_at = time.perf_counter()
    answer = bench.to_novita.post(CREATE, json=PURCHASE)
    seconds = time.perf_counter() - started_at
    if answer.status_code != 200:
        raise BenchFailed(f"Novita answered {answer.status_code}: {answer.text}")
    return seconds


def place_order(bench: Bench) -> float:
    """Order a machine as a client does; return how many seconds that took."""
    headers = {"idempotency-key": os.urandom(16).hex()}
    started_at = time.perf_counter()
    answer = bench.to_service.post(
        "/api/instances", json={"name": "bench", **ORDER}, headers=headers
    )
    seconds = time.perf_counter() - started_at
    if answer.status_code != 201:
        raise BenchFailed(f"the service answered {answer.status_code}: {answer.text}")
    return seconds


def wait_until_delivered(bench: Bench) -> None:
    """Wait for the last webhooks: what they cost belongs to their orders."""
    for _ in patience():
        summary = bench.to_service.get("/health").json()
        if not summary["deliveries"]["pending"]:
            return
    raise BenchFailed("webhooks are still pending")


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time that a process has used so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def rss_bytes_of(pid: int) -> int:
    """Return the memory that a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def receiver() -> Iterator[int]:
    """Run a webhook receiver in a process of its own, and yield its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = multiprocessing.get_context("fork").Process(target=receive, args=(listener,))
    child.start()
    try:
        yield listener.getsockname()[1]
    finally:
        child.terminate()
        child.join()
        listener.close()


def receive(listener: socket.socket) -> None:
    """Answer 204 to every request on every connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, sock=listener)
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def process(
    arguments: Sequence[str], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python beside us with its output in ``log``, and end it with us."""
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments], env=env, stdout=output, stderr=output
        )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(timeout=PATIENCE_SECONDS)


def client(port: int, *, key: str) -> httpx2.Client:
    """Return a client that keeps its connection."""
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {key}"},
        timeout=PATIENCE_SECONDS,
    )


def wait_until_up(
    child: subprocess.Popen[bytes], http: httpx2.Client, path: str, log: Path
) -> None:
    """Wait until a path answers well.  Raises BenchFailed with the process's last words."""
    for _ in patience():
        if child.poll() is not None:
            break
        with suppress(httpx2.TransportError):
            if http.get(path).status_code == 200:
                return
    raise BenchFailed(f"{path} did not come up\n{log.read_text()[-2000:]}")


def patience() -> Iterator[None]:
    """Yield every few milliseconds for as long as something is waited for."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends_at:
        yield
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that is free on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def table(figures: Figures) -> str:
    """Return the figures for people: a table, and all of them in one line."""
    rows = {"Novita alone": figures.novita, "order": figures.order, "on top": figures.on_top}
    cpus = os.cpu_count()
    on_top = figures.on_top
    return "\n".join(
        (
            f"{figures.orders} orders, one at a time; {cpus} CPUs, load {figures.load_average}",
            f"{'ms':>14}{'median':>9}{'p90':>9}{'p99':>9}",
            *(f"{name:>14}{s.median:9.2f}{s.p90:9.2f}{s.p99:9.2f}" for name, s in rows.items()),
            f"order: {on_top.median:.1f} ms on top in the median (target: {TARGET_MS}), "
            f"{on_top.p90:.1f} p90, {on_top.p99:.1f} p99; "
            f"{figures.orders_per_second:.1f} orders/s, "
            f"{figures.cpu_us_per_order:,} µs CPU per order, {figures.rss_mb:.0f} MB RSS",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
