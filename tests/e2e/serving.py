"""The service as a process of its own, with a data directory that outlives it."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.program import COMMAND, environment
from tests.e2e.waiting import PATIENCE_SECONDS, eventually

# Each is looked for where no secret may be.
NOVITA_KEY = "canary-novita-key-3f7a"
API_KEY = "canary-our-api-key-91bc"
WEBHOOK_SECRET = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAwMDAwMDAwMDE="
SECRET_KEY = "Y2FuYXJ5LXNlY3JldC1rZXktMDAwMDAwMDAwMDAwMDA="

# Everything that takes its time by default takes little, and nothing is paced.
QUICK = {
    "NOVITA_API_KEY": NOVITA_KEY,
    "GPUKEEPER_PORT": "0",
    "GPUKEEPER_API_KEYS": API_KEY,
    "GPUKEEPER_WEBHOOK_SECRET": WEBHOOK_SECRET,
    "GPUKEEPER_SECRET_KEY": SECRET_KEY,
    "GPUKEEPER_POLL_INTERVAL": "0.1",
    "GPUKEEPER_SWEEP_INTERVAL": "0.2",
    "GPUKEEPER_WEBHOOK_BACKOFF": "0.1",
    "GPUKEEPER_NOVITA_RATE": "1000",
    "GPUKEEPER_LOG_LEVEL": "debug",
    "GPUKEEPER_LOG_FORMAT": "json",
}

ORDER = {"name": "trainer", "productName": "RTX 4090 24GB", "templateId": "tpl-basic"}

# Statuses that nothing but a wish leads out of.
_ENDS = frozenset({"stopped", "deleted", "failed", "reclaimed", "lost"})

# What the log has about a fault of our own.
_OWN_FAULTS = frozenset({"loop_failed", "worker_failed", "unhandled_error"})

Json = dict[str, Any]


@dataclass(slots=True)
class Service:
    """A data directory in ``directory``, the settings, and the process while there is one."""

    directory: Path
    settings: Mapping[str, str]
    role: str = "all"
    command: Sequence[str] = COMMAND
    http: httpx2.Client = field(default_factory=httpx2.Client)
    _process: subprocess.Popen[bytes] | None = None
    _starts: int = 0

    @property
    def data_dir(self) -> Path:
        """Where it keeps everything."""
        return Path(self.settings.get("GPUKEEPER_DATA_DIR", self.directory / "data"))

    @property
    def process_id(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is reached."""
        return str(self.http.base_url).rstrip("/")

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        assert self._process is None
        self.directory.mkdir(exist_ok=True)
        self._starts += 1
        settings = {"GPUKEEPER_DATA_DIR": str(self.data_dir), **self.settings}
        with self._output().open("wb") as output, self._errors().open("wb") as errors:
            self._process = subprocess.Popen(
                [*self.command, "serve", "--role", self.role],
                env=environment(settings),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        port = eventually(self._port, "the port")
        self.http.close()
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={
                "authorization": f"Bearer {self.settings['GPUKEEPER_API_KEYS'].split(',')[0]}"
            },
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )
        eventually(lambda: self.get("/health/ready").is_success, "readiness")

    def stop(self) -> int:
        """Stop the process as a supervisor does and return its exit status."""
        return self._end(signal.SIGTERM)

    def stop_timed(self) -> tuple[int, float]:
        """Stop the process and return its exit status and the seconds that it took."""
        began = time.monotonic()
        return self.stop(), time.monotonic() - began

    def kill(self) -> None:
        """End the process as a power cut does."""
        self._end(signal.SIGKILL)

    def strike(self) -> None:
        """Kill the process at once from whatever thread; :meth:`kill` takes notice of its end."""
        assert self._process is not None
        self._process.kill()

    def close(self) -> None:
        """Stop the process if there is one, and make sure that it had no fault of its own."""
        try:
            assert self._process is None or self.stop() == 0
        finally:
            if self._process is not None:
                self.kill()
            self.http.close()
        assert [line for line in self.log() if line.get("event") in _OWN_FAULTS] == []
        assert [path.read_text() for path in self.directory.glob("errors-*.log")] == [
            ""
        ] * self._starts

    def log(self, event: str | None = None, **facts: object) -> list[Json]:
        """Return the messages of every run that say this, oldest first."""
        texts = [path.read_text() for path in sorted(self.directory.glob("output-*.log"))]
        lines = [json.loads(line) for text in texts for line in text.split("\n") if line]
        return [
            line
            for line in lines
            if event in (None, line.get("event"))
            and all(line.get(name) == fact for name, fact in facts.items())
        ]

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Ask."""
        return self.http.get(path, **options)

    def post(self, path: str, **options: Any) -> httpx2.Response:
        """Send."""
        return self.http.post(path, **options)

    def try_order(self, headers: Mapping[str, str] | None = None, **fields: Any) -> httpx2.Response:
        """Order and return the answer, whatever it is."""
        return self.post("/api/instances", json=ORDER | fields, headers=headers)

    def order(self, **fields: Any) -> Json:
        """Order and return the instance that Novita has accepted."""
        answer = self.try_order(**fields)
        assert answer.status_code == 201, answer.text
        body: Json = answer.json()
        return body

    def running(self, **fields: Any) -> Json:
        """Order and return the instance once it is running and all of it is known."""
        instance_id = self.wait_for(self.order(**fields)["id"], "running")["id"]
        eventually(lambda: self.instance(instance_id)["sshCommand"], "the SSH command")
        return self.instance(instance_id)

    def instance(self, instance_id: str) -> Json:
        """Return an instance as it is shown now."""
        answer = self.get(f"/api/instances/{instance_id}")
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    def wait_for(self, instance_id: str, status: str) -> Json:
        """Return an instance once it has this status."""

        def look() -> Json | None:
            seen = self.instance(instance_id)
            if seen["status"] == status:
                return seen
            assert seen["status"] not in _ENDS, seen
            return None

        found = eventually(look, f"{status} of {instance_id}")
        assert found is not None
        return found

    def history(self, instance_id: str) -> list[str]:
        """Return what an instance went through; how it was reached meanwhile is left out."""
        events = self.get(f"/api/instances/{instance_id}/events").json()["events"]
        types = [event["type"].removeprefix("instance.") for event in events]
        return [each for each in types if each != "connection_changed"]

    def _output(self) -> Path:
        return self.directory / f"output-{self._starts}.log"

    def _errors(self) -> Path:
        return self.directory / f"errors-{self._starts}.log"

    def _port(self) -> str | None:
        assert self._process is not None
        text = self._output().read_text()
        assert self._process.poll() is None, text + self._errors().read_text()
        found = re.search(r"Uvicorn running on http://127\.0\.0\.1:(\d+)", text)
        return found[1] if found else None

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(how)
        status = self._process.wait(PATIENCE_SECONDS)
        self._process = None
        return status
