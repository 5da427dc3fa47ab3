"""A port that cannot be had is told in one sentence, before anything is greeted."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from gpukeeper.nudges import Nudges
from gpukeeper.port_check import CannotListen, check_port, format_url, open_ports
from gpukeeper.web.server.http_server import Server
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


def test_all_addresses_of_a_host_are_taken_on_one_port() -> None:
    opened = open_ports("localhost", 0, setting="--port")
    try:
        assert len({each.getsockname()[1] for each in opened}) == 1
        assert {format_url(each).rpartition(":")[2] for each in opened} == {
            str(opened[0].getsockname()[1])
        }
    finally:
        for each in opened:
            each.close()


def test_an_address_that_the_machine_lacks_is_passed_over_where_there_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def two(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        return [(*here[:4], ("203.0.113.7", port)), here]

    monkeypatch.setattr(socket, "getaddrinfo", two)

    (opened,) = open_ports("localhost", 0, setting="--port")

    with opened:
        assert format_url(opened).startswith("http://127.0.0.1:")


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    class Taken(socket.socket):
        def getsockname(self) -> tuple[str, int, int, int]:
            return ("::1", 8080, 0, 0)

    with Taken() as taken:
        assert format_url(taken) == "http://[::1]:8080"


def test_a_port_that_is_taken_in_the_last_moment_is_told_by_the_server() -> None:
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        late.bind(("127.0.0.1", 0))
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first.bind(late.getsockname())
            first.listen()
            config = uvicorn.Config(Starlette(), port=late.getsockname()[1], log_config=None)
            told = pytest.raises(CannotListen, match="already in use; GPUKEEPER_PORT names")
            with told, asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
                runner.run(Server(Nudges(), config).serve([late]))
