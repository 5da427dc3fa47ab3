"""The image's health check asks what runs in the container, and asks it directly."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

PREFIX = ["tini", "--", "sh", "/app/bin/start"]


@pytest.fixture
def health(root: Path) -> ModuleType:
    """Return the check as a module."""
    spec = importlib.util.spec_from_file_location("health", root / "deploy/health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 503)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def port() -> Iterator[int]:
    """Give the port of a service that is ready."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("command", "environ", "asked"),
    [
        (["serve"], {}, ("127.0.0.1", 8080, "/health/ready")),
        (
            ["serve", "--role", "engine"],
            {"GPUKEEPER_HOST": "0.0.0.0", "GPUKEEPER_PORT": "9000"},
            ("127.0.0.1", 9000, "/health/ready"),
        ),
        (
            ["serve"],
            {"GPUKEEPER_HOST": "[::]", "GPUKEEPER_PORT": "tcp://10.0.0.1:8080"},
            ("::1", 8080, "/health/ready"),
        ),
        (
            ["simulate", "--fast", "--host", "0.0.0.0", "--port", "9190"],
            {},
            ("127.0.0.1", 9190, "/_sim"),
        ),
        (["webhooks", "listen", "--port=9191"], {}, ("127.0.0.1", 9191, None)),
        (["webhooks", "secret"], {}, None),
        (["migrate"], {}, None),
    ],
)
def test_what_is_asked_depends_on_the_command_that_runs(
    health: ModuleType,
    command: list[str],
    environ: dict[str, str],
    asked: tuple[str, int, str | None] | None,
) -> None:
    assert health.question_for([*PREFIX, *command, ""], environ) == asked


def test_a_command_line_that_is_hidden_is_taken_for_the_service_s(health: ModuleType) -> None:
    assert health.question_for(["/sbin/init"], {}).path == "/health/ready"


def test_only_an_answer_of_200_is_well(health: ModuleType, port: int) -> None:
    assert health.is_well(health.Question("127.0.0.1", port, "/health/ready"))
    assert health.is_well(health.Question("127.0.0.1", port, None))
    assert not health.is_well(health.Question("127.0.0.1", port, "/_sim"))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()[1]
        assert not health.is_well(health.Question("127.0.0.1", address, "/health/ready"))


def test_no_proxy_of_the_environment_is_asked(root: Path, port: int) -> None:
    proxies = {
        f"{name}_proxy": "http://127.0.0.1:9"
        for name in ("http", "https", "all", "HTTP", "HTTPS", "ALL")
    }
    environ = {**os.environ, **proxies, "GPUKEEPER_HOST": "0.0.0.0", "GPUKEEPER_PORT": str(port)}
    checked = [sys.executable, "-I", "-S", str(root / "deploy/health.py")]

    ended = subprocess.run(checked, env=environ, capture_output=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")


def test_no_file_asks_this_machine_by_a_way_that_heeds_proxies(root: Path) -> None:
    files = [root / name for name in ("Dockerfile", "compose.yaml", "compose.scale.yaml")]
    files += [*(root / "deploy").rglob("*"), *(root / "scripts").glob("*.py")]
    asking = re.compile(r"urlopen\(|\b(curl|wget)\b (?!.*--noproxy)")
    texts = {each: each.read_text() for each in files if each.is_file()}
    assert [each.name for each, text in texts.items() if asking.search(text)] == []
