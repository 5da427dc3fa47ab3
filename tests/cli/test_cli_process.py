"""The program as a process of its own: entry points, pipes, and how fast it starts."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gpukeeper import __version__
from tests.client.fake_service import INSTANCE

# What only the commands that serve something need.
HEAVY = {
    "alembic",
    "cryptography",
    "fastapi",
    "pydantic",
    "rich",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
}

LIST = {"instances": [INSTANCE | {"productName": "4090 → 24 GB"}], "total": 1, "nextCursor": None}


class Handler(BaseHTTPRequestHandler):
    """Lists one instance to whoever has the key."""

    def do_GET(self) -> None:
        """Answer."""
        is_known = self.headers["authorization"] == "Bearer k3y"
        listed = LIST if self.path.startswith("/api/instances") else {"deliveries": []}
        body = json.dumps(
            listed if is_known else {"code": "unauthorized", "detail": "No."}
        ).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """Return the address of a small service on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program with this environment added."""
    return subprocess.run(
        [sys.executable, "-m", "gpukeeper", *arguments],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_m_runs_the_program() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_asked_directly_whatever_the_proxy(url: str, host: str) -> None:
    ended = run(
        "ls",
        *("-o", "json"),
        GPUKEEPER_URL=url.replace("127.0.0.1", host),
        GPUKEEPER_API_KEY="k3y",
        HTTP_PROXY="http://127.0.0.1:9",
    )
    assert (ended.returncode, json.loads(ended.stdout), ended.stderr) == (0, LIST, "")


def test_a_wrong_key_ends_with_6_and_no_traceback(url: str) -> None:
    ended = run("ls", GPUKEEPER_URL=url, GPUKEEPER_API_KEY="wrong")
    assert (ended.returncode, ended.stdout) == (6, "")
    assert ended.stderr.startswith("Error: No. [unauthorized]\n")


def test_no_service_ends_with_5_and_no_traceback() -> None:
    ended = run("ls", GPUKEEPER_URL="http://127.0.0.1:1")
    assert ended.returncode == 5
    assert "Traceback" not in ended.stderr


def test_a_locale_without_a_character_ends_nothing(url: str) -> None:
    ended = run("ls", GPUKEEPER_URL=url, GPUKEEPER_API_KEY="k3y", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "4090 ? 24 GB" in ended.stdout


def test_a_closed_pipe_ends_quietly(url: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", "gpukeeper", "ls"],
        env=os.environ | {"GPUKEEPER_URL": url, "GPUKEEPER_API_KEY": "k3y"},
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert ended.stderr == ""


def test_commands_of_the_client_import_nothing_that_only_servers_need() -> None:
    listing = "import sys, gpukeeper.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    ended = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(ended.stdout.split()) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_taught_to_complete_commands(shell: str) -> None:
    # Otherwise the shell is the one that the tests were started from, which may be none.
    shown = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert shown.returncode == 0
    assert "_GPUKEEPER_COMPLETE" in shown.stdout


def test_a_shell_is_told_the_commands_that_begin_like_this() -> None:
    completed = run(_GPUKEEPER_COMPLETE="complete_bash", COMP_WORDS="gpukeeper del", COMP_CWORD="1")
    assert completed.stdout.split() == ["deliveries"]
