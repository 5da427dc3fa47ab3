"""A stack of containers that Docker Compose starts from the repository's own files."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SINGLE = ("compose.yaml",)
SCALE = ("compose.yaml", "compose.scale.yaml")
DEMO = ("compose.demo.yaml",)
# What the demo lets in.
DEMO_KEY = "demo-key-for-this-machine"
ORDER = {"name": "trainer", "productName": "RTX 4090 24GB", "templateId": "tpl-basic"}
# Containers start in seconds; a busy machine may take longer.
UP_SECONDS = 180
# A .env that lies in the checkout is somebody's own.
_OPTIONS = ("--ansi", "never", "--env-file", os.devnull)

Json = dict[str, Any]


class ComposeFailed(Exception):
    """``docker compose`` ended with another status than 0; the message is what it wrote."""


@dataclass(slots=True)
class Stack:
    """One Compose project; ``settings`` are the variables of its .env."""

    project: str
    files: Sequence[str]
    port: int
    simulator_port: int
    settings: Mapping[str, str]
    key: str = DEMO_KEY
    profiles: Sequence[str] = ("simulator",)
    http: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {self.key}"},
            timeout=60,
            trust_env=False,
        )

    def compose(self, *arguments: str, given: bytes | None = None) -> str:
        """Run ``docker compose`` and return what it prints.  Raises ComposeFailed.

        What is ``given`` to it on stdin has it return what it writes to stderr as well.
        """
        files = [part for name in self.files for part in ("-f", name)]
        profiles = [part for name in self.profiles for part in ("--profile", name)]
        ended = subprocess.run(
            ["docker", "compose", "-p", self.project, *files, *profiles, *_OPTIONS, *arguments],
            cwd=ROOT,
            env=self._environment(),
            input=given or b"",
            capture_output=True,
            check=False,
        )
        printed, said = ended.stdout.decode(), ended.stderr.decode()
        if ended.returncode:
            raise ComposeFailed(printed + said)
        return printed if given is None else printed + said

    def up(self) -> None:
        """Start everything and wait until it is healthy.  Raises ComposeFailed."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(UP_SECONDS))

    def down(self, *, volumes: bool = False) -> None:
        """Remove the containers, and with ``volumes`` all that was kept."""
        self.compose("down", "--timeout", "15", *(["--volumes"] if volumes else []))

    def logs(self, service: str) -> str:
        """Return what a service's containers have written."""
        return self.compose("logs", "--no-log-prefix", service)

    def containers(self, service: str) -> list[str]:
        """Return the names of a service's running containers."""
        lines = self.compose("ps", "--format", "json", service).splitlines()
        return sorted(json.loads(line)["Name"] for line in lines)

    def order(self, key: str | None = None) -> Json:
        """Order an instance, under a key if one is given; return it as Novita has accepted it."""
        headers = {} if key is None else {"idempotency-key": key}
        answer = self.http.post("/api/instances", json=ORDER, headers=headers)
        assert answer.status_code == 201, answer.text
        body: Json = answer.json()
        return body

    def instance(self, instance_id: str) -> Json:
        """Return an instance as it is shown now."""
        answer = self.http.get(f"/api/instances/{instance_id}")
        assert answer.status_code == 200, answer.text
        body: Json = answer.json()
        return body

    def wait_for(self, instance_id: str, status: str) -> None:
        """Wait until an instance has this status."""
        eventually(
            lambda: self.instance(instance_id)["status"] == status, f"{status} of {instance_id}"
        )

    def wait_for_webhook(
        self, event_type: str, instance_id: str, *, listener: str = "listener"
    ) -> None:
        """Wait until the listener has verified and shown a webhook."""

        def has_come() -> bool:
            lines = self.logs(listener).splitlines()
            return any(event_type in line and instance_id in line for line in lines)

        eventually(has_come, f"the webhook {event_type} of {instance_id}")

    def _environment(self) -> dict[str, str]:
        foreign = ("GPUKEEPER_", "NOVITA_", "POSTGRES_")
        shell = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
        ports = {
            "PUBLISH_PORT": str(self.port),
            "DEMO_PORT": str(self.port),
            "SIMULATOR_PORT": str(self.simulator_port),
        }
        return shell | ports | dict(self.settings)
