"""Measure what an order costs on top of Novita's own answer time.

A simulated Novita that takes a fixed time to sell, a webhook listener and the service run as
processes of their own; this program orders, one at a time, and asks Novita directly in between.
"""

import argparse
import base64
import json
import os
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
# The target: what an order may cost on top, in the median, on an idle machine.
TARGET_MS = 15
# The first orders connect, compile statements and fetch what is for sale.
WARM_UP_ORDERS = 20
# The service knows products and templates for 30 s; an order that fetches them is not measured.
MEASURED_SECONDS, PAUSE_SECONDS = 27, 4
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
    """Start Novita, the listener and the service; all end with ``stack``."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpukeeper-bench-")))
    novita, hook, port = free_port(), free_port(), free_port()
    # Whatever this shell sets for a real service must not change what is measured.
    foreign = ("GPUKEEPER_", "NOVITA_")
    shell = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env = shell | {
        "NOVITA_API_KEY": "simulated",
        "NOVITA_BASE_URL": f"http://127.0.0.1:{novita}",
        "GPUKEEPER_API_KEYS": API_KEY,
        "GPUKEEPER_DATA_DIR": str(folder / "data"),
        "GPUKEEPER_PORT": str(port),
        "GPUKEEPER_NOVITA_RATE": "100000",
        "GPUKEEPER_WEBHOOK_URL": f"http://127.0.0.1:{hook}/",
        "GPUKEEPER_WEBHOOK_SECRET": "whsec_" + base64.b64encode(os.urandom(32)).decode(),
        "GPUKEEPER_LOG_FORMAT": "json",
    }
    profiling = ["-m", "cProfile", "-o", str(Path(profile).resolve())] if profile else []
    simulator, listener, service = (
        stack.enter_context(process(arguments, env, folder / f"{name}.log"))
        for name, arguments in {
            "novita": [*GPUKEEPER, "simulate", "--port", str(novita)],
            "listener": [*GPUKEEPER, "webhooks", "listen", "--port", str(hook)],
            "service": [*profiling, *GPUKEEPER, "serve"],
        }.items()
    )
    to_novita = stack.enter_context(client(novita, key="simulated"))
    to_listener = stack.enter_context(client(hook, key="none"))
    to_service = stack.enter_context(client(port, key=API_KEY))
    wait_until_up(simulator, to_novita, "/_sim", folder / "novita.log")
    wait_until_up(listener, to_listener, "/", folder / "listener.log")
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
            time.sleep(PAUSE_SECONDS)
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
    return known_from + MEASURED_SECONDS


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
    answer = bench.to_service.post("/api/instances", json=ORDER, headers=headers)
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
def process(
    arguments: Sequence[str], env: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python beside us with its output in ``log``, and end it with us."""
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, *arguments], env=env, cwd=log.parent, stdout=output, stderr=output
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
    """Wait until a process serves.  Raises BenchFailed with its last words."""
    for _ in patience():
        if child.poll() is not None:
            break
        with suppress(httpx2.TransportError):
            if http.get(path).status_code < 500:
                return
    raise BenchFailed(f"{log.stem} did not come up\n{log.read_text()[-2000:]}")


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
    top = figures.on_top
    return "\n".join(
        (
            f"{figures.orders} orders, one at a time; load {figures.load_average} "
            f"on {os.cpu_count()} CPUs",
            f"{'ms':>14}{'median':>9}{'p90':>9}{'p99':>9}",
            *(f"{name:>14}{s.median:9.2f}{s.p90:9.2f}{s.p99:9.2f}" for name, s in rows.items()),
            f"order: {top.median:.1f} ms on top in the median (target: {TARGET_MS}), "
            f"{top.p90:.1f} p90, {top.p99:.1f} p99; {figures.orders_per_second:.1f} orders/s, "
            f"{figures.cpu_us_per_order:,} µs CPU per order, {figures.rss_mb:.0f} MB RSS",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
