"""A port that cannot be had is told in one sentence, before anything is greeted."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukeeper.ports import CannotListen, check_port
from tests.cli.program import Program

SECRET = "whsec_" + "YWJj" * 8


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port of this machine that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (("serve",), "GPUKEEPER_PORT"),
        (("simulate", "--port"), "--port"),
        (("webhooks", "listen", "--port"), "--port"),
    ],
)
def test_a_port_that_is_taken_is_told_in_one_sentence_with_status_1(
    program: Program,
    taken: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    setting: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    env = {
        "NOVITA_API_KEY": "sk-for-tests",
        "GPUKEEPER_PORT": str(taken),
        "GPUKEEPER_WEBHOOK_SECRET": SECRET,
    }
    port = (str(taken),) if setting == "--port" else ()

    ended = program.run(*arguments, *port, env=env)

    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"Error: Cannot listen on 127.0.0.1 port {taken}: Address already in use; "
        f"{setting} names another one. [cannot_listen]\n"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_any_free_port_will_do(host: str) -> None:
    check_port(host, 0, setting="--port")


def test_a_host_that_is_not_of_this_machine_cannot_be_listened_on() -> None:
    with pytest.raises(CannotListen, match=r"Cannot listen on 203\.0\.113\.7 port 8080"):
        check_port("203.0.113.7", 8080, setting="--port")
