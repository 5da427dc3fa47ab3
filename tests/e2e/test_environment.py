"""The process among others: its address, its signals, its output, and what it is given."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.program import COMMAND, environment, run
from tests.e2e.waiting import eventually

KEYS = {"NOVITA_API_KEY": "key", "GPUKEEPER_API_KEYS": "k" * 16}


def start(folder: Path, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a service of its own in a folder, whose Novita cannot be reached."""
    settings = {
        **KEYS,
        "NOVITA_BASE_URL": "http://127.0.0.1:9",
        "GPUKEEPER_PORT": "0",
        "GPUKEEPER_DATA_DIR": str(folder / "data"),
        "GPUKEEPER_LOG_FORMAT": "json",
        **options.pop("settings", {}),
    }
    return subprocess.Popen(
        [*COMMAND, "serve"],
        env=environment(settings),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options},
    )


def logged(folder: Path, word: str) -> list[dict[str, Any]]:
    """Return the messages of the log file that begin with this word."""
    path = folder / "data/logs/gpukeeper.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in map(json.loads, lines) if line["event"].startswith(word)]


def has_ipv6() -> bool:
    """Say whether this machine has the address ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


# Where there is no IPv6, its spelling is covered by the tests of `ports`.
HOSTS = ["127.0.0.1", *(["::1"] if has_ipv6() else [])]


@pytest.mark.parametrize("host", HOSTS)
def test_the_address_that_is_logged_is_the_one_that_listens(tmp_path: Path, host: str) -> None:
    process = start(tmp_path, settings={"GPUKEEPER_HOST": host})
    try:
        eventually(lambda: logged(tmp_path, "Uvicorn running"), "the server")
        (starting,) = logged(tmp_path, "starting")
        before, _, port = starting["url"].rpartition(":")
        assert before == f"http://{f'[{host}]' if ':' in host else host}"
        socket.create_connection((host, int(port))).close()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_terminal_that_is_gone_drains_the_service(tmp_path: Path) -> None:
    process = start(tmp_path)
    eventually(lambda: logged(tmp_path, "Uvicorn running"), "the server")

    process.send_signal(signal.SIGHUP)

    assert process.wait(30) == 0
    assert logged(tmp_path, "stopped")


def test_nohup_keeps_the_service_when_the_terminal_goes(tmp_path: Path) -> None:
    def ignore_hang_up() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(tmp_path, preexec_fn=ignore_hang_up)
    eventually(lambda: logged(tmp_path, "Uvicorn running"), "the server")

    process.send_signal(signal.SIGHUP)
    process.terminate()

    assert process.wait(30) == 0
    assert logged(tmp_path, "stopped")


def test_a_reader_of_stdout_that_goes_costs_one_complaint_and_not_the_service(
    tmp_path: Path,
) -> None:
    read_end, write_end = os.pipe()
    with (tmp_path / "errors").open("wb") as errors:
        process = start(tmp_path, stdout=write_end, stderr=errors)
    os.close(write_end)
    eventually(lambda: logged(tmp_path, "Uvicorn running"), "the server")

    os.close(read_end)
    process.terminate()

    assert process.wait(30) == 0
    assert len(logged(tmp_path, "log_stream_unavailable")) == 1
    assert logged(tmp_path, "stopped")
    assert (tmp_path / "errors").read_text() == ""


def test_a_log_that_was_moved_while_the_service_runs_is_made_anew(serve: Serve) -> None:
    service = serve()
    path = service.data_dir / "logs/gpukeeper.log"
    path.rename(path.with_name("gpukeeper.log-20261201"))

    service.stop()

    assert "stopped" in path.read_text()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_environment_that_cannot_be_used_ends_with_78_and_every_fault_named(
    tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "data/logs/gpukeeper.log"
    settings = {
        **KEYS,
        "HTTPS_PROXY": "socks5://user:canary@proxy.example:1080",
        "SSL_CERT_FILE": str(tmp_path / "none.pem"),
        "GPUKEEPER_SERVICE_HOST": "10.96.0.7",
        "GPUKEEPER_PORT": "tcp://10.96.0.7:8080",
    }
    ended = run(command, settings=settings, directory=tmp_path)
    named = [line.split(":")[0] for line in ended.stderr.splitlines()]
    assert (ended.returncode, ended.stdout) == (78, "")
    assert sorted(named) == ["HTTPS_PROXY", "SSL_CERT_FILE"]
    assert "canary" not in ended.stderr
    assert not (tmp_path / "data").exists()

    folder.mkdir(parents=True)
    ended = run(command, settings=KEYS | {"GPUKEEPER_PORT": "0"}, directory=tmp_path)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr.startswith("GPUKEEPER_DATA_DIR: data/logs/gpukeeper.log cannot be written")
