"""Starts what a benchmark measures, each as a process of its own, and reads what it uses."""

import base64
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

API_KEY = "a-key-for-the-benchmark"
GPUKEEPER = ("-m", "gpukeeper")
ROOT = Path(__file__).parent.parent
# What is waited for here takes a second or two, unless the machine is very busy.
PATIENCE_SECONDS = 60
# What this shell sets for a real service must not change what is measured.
_FOREIGN = ("GPUKEEPER_", "NOVITA_")


class BenchFailed(Exception):
    """Something that is measured did not work."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that serves on a port of loopback, and a kept connection to it."""

    child: subprocess.Popen[bytes]
    port: int
    http: httpx2.Client
    log: Path

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_seconds(self) -> float:
        """The CPU time that it has used so far, in all its threads."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = int(fields[11]), int(fields[12])
        return (user + system) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_mb(self) -> float:
        """The memory that it occupies."""
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def wait_until(self, path: str) -> None:
        """Wait until it answers this path without a failure of its own.

        Raises BenchFailed with its last words.
        """
        for _ in patience():
            if self.child.poll() is not None:
                break
            with suppress(httpx2.TransportError):
                if self.http.get(path).status_code < 500:
                    return
        raise BenchFailed(f"{self.log.stem} did not come up\n{self.log.read_text()[-2000:]}")


class Stage:
    """A directory of its own and the processes of one run, which all end with ``stack``."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpukeeper-")))
        self.data_dir = self.folder / "data"
        self.data_dir.mkdir(mode=0o700)

    def novita(self, *, answer_ms: float, routes: Sequence[str] = ("*",)) -> Process:
        """Start a simulated Novita that answers these routes after a fixed time."""
        port = free_port()
        novita = self.start("novita", [*GPUKEEPER, "simulate", "--port", str(port)], port)
        novita.wait_until("/_sim")
        slow = [{"kind": "slow", "route": each, "seconds": answer_ms / 1000} for each in routes]
        novita.http.post("/_sim/faults", json=slow).raise_for_status()
        return novita

    def listener(self) -> Process:
        """Start a receiver that takes every webhook and verifies it."""
        port = free_port()
        listen = [*GPUKEEPER, "webhooks", "listen", "--port", str(port)]
        listener = self.start("listener", listen, port)
        listener.wait_until("/")
        return listener

    def service(
        self,
        novita_url: str,
        *,
        role: str = "all",
        profile: str | None = None,
        settings: Mapping[str, str] | None = None,
        name: str = "service",
    ) -> Process:
        """Start ``gpukeeper serve`` as in production but for Novita's pace, and wait for it.

        ``profile`` names a file for cProfile, which sees the main thread (the event loop) alone.
        """
        port = free_port()
        env = {
            "NOVITA_API_KEY": "simulated",
            "NOVITA_BASE_URL": novita_url,
            "GPUKEEPER_API_KEYS": API_KEY,
            "GPUKEEPER_DATA_DIR": str(self.data_dir),
            "GPUKEEPER_PORT": str(port),
            "GPUKEEPER_NOVITA_RATE": "100000",
            "GPUKEEPER_LOG_FORMAT": "json",
        }
        profiling = ["-m", "cProfile", "-o", str(Path(profile).resolve())] if profile else []
        serve = [*profiling, *GPUKEEPER, "serve", "--role", role]
        service = self.start(name, serve, port, env={**env, **(settings or {})})
        service.wait_until("/health/ready")
        return service

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        port: int,
        *,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start Python with these arguments; nothing waits for it yet."""
        log = self.folder / f"{name}.log"
        child = self._stack.enter_context(process(arguments, {**shell(), **(env or {})}, log))
        http = self._stack.enter_context(client(port, key=API_KEY))
        return Process(child, port, http, log)


def shell() -> dict[str, str]:
    """Return this shell's environment without anybody's settings; ``bench`` can be imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    secret = "whsec_" + base64.b64encode(b"a secret for the benchmark alone").decode()
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    return kept | {"PYTHONPATH": path, "GPUKEEPER_WEBHOOK_SECRET": secret}


@contextmanager
def process(
    arguments: Sequence[str], env: Mapping[str, str], log: Path
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
