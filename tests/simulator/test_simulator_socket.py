"""The simulator on a real port: connections that break, answers that are late."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest
import uvicorn

from gpukeeper.simulator.novita_api import simulator_server
from gpukeeper.simulator.novita_api.simulator_server import Simulator
from gpukeeper.simulator.simulator_settings import Settings
from tests.simulator.simulator_driver import GPU, ORDER, PHASES

KEY = {"authorization": "Bearer key"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """Serve one simulator for all tests of this module."""
    with Simulator(Settings(clock="manual", phase_seconds=PHASES)) as running:
        yield running


@pytest.fixture
def http(simulator: Simulator) -> Iterator[httpx2.Client]:
    """Return a client of a world that has just begun."""
    with httpx2.Client(base_url=simulator.url, headers=KEY, timeout=5) as client:
        client.post("/_sim/reset", json={})
        yield client


def add_fault(http: httpx2.Client, **fault: Any) -> None:
    """Switch a fault on."""
    assert http.post("/_sim/faults", json=fault).status_code == 200


def machines(http: httpx2.Client) -> int:
    """Return how many machines really exist."""
    return len(http.get("/_sim/machines").json())


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_a_reset_breaks_the_connection_before_or_after_the_effect(
    http: httpx2.Client, when: str, left: int
) -> None:
    add_fault(http, kind="reset", route="create", when=when, times=1)

    with pytest.raises(httpx2.ReadError):
        http.post(f"{GPU}/gpu/instance/create", json=ORDER)

    assert machines(http) == left
    assert http.post(f"{GPU}/gpu/instance/create", json=ORDER).status_code == 200


def test_an_answer_that_is_cut_off_is_a_protocol_error(http: httpx2.Client) -> None:
    add_fault(http, kind="cut", route="create", times=1)

    with pytest.raises(httpx2.RemoteProtocolError):
        http.post(f"{GPU}/gpu/instance/create", json=ORDER)

    assert machines(http) == 1


def test_a_truncated_answer_is_whole_for_http_and_broken_for_json(http: httpx2.Client) -> None:
    add_fault(http, kind="truncated", route="clusters", times=1)

    answer = http.get(f"{GPU}/clusters")

    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        answer.json()


@pytest.mark.parametrize(("when", "left"), [("before", 0), ("after", 1)])
def test_an_answer_that_never_comes_runs_into_the_clients_timeout(
    http: httpx2.Client, when: str, left: int
) -> None:
    add_fault(http, kind="timeout", route="create", when=when, times=1)

    with pytest.raises(httpx2.ReadTimeout):
        http.post(f"{GPU}/gpu/instance/create", json=ORDER, timeout=0.1)

    assert machines(http) == left


def test_a_connection_held_too_long_is_closed_by_the_server(http: httpx2.Client) -> None:
    add_fault(http, kind="timeout", route="clusters", seconds=0.1, times=1)

    with pytest.raises(httpx2.RemoteProtocolError):
        http.get(f"{GPU}/clusters")


def test_an_answer_later_than_the_clients_timeout_still_takes_effect(
    simulator: Simulator, http: httpx2.Client
) -> None:
    taken = threading.Event()
    _tell(simulator.world.journal, "write", taken)
    add_fault(http, kind="slow", route="create", seconds=0.3, times=1)

    with pytest.raises(httpx2.ReadTimeout):
        http.post(f"{GPU}/gpu/instance/create", json=ORDER, timeout=0.1)

    assert taken.wait(5)
    assert machines(http) == 1


def test_a_simulator_stops_although_answers_are_still_owed() -> None:
    asked = threading.Event()
    with Simulator() as simulator:
        httpx2.post(
            f"{simulator.url}/_sim/faults", json={"kind": "slow", "when": "after", "seconds": 3600}
        )
        _tell(simulator.world.journal, "write", asked)
        waiting = threading.Thread(target=_get_and_fail, args=(simulator.url,))
        waiting.start()
        assert asked.wait(5)
    waiting.join(5)

    assert not waiting.is_alive()


def test_serve_runs_the_simulator_for_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, list[socket.socket]]] = []
    monkeypatch.setattr(
        uvicorn.Server,
        "run",
        lambda self, sockets: seen.append((self.config.host, self.config.port, sockets)),
    )

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        simulator_server.serve([taken], Settings.fast())
        assert seen == [("127.0.0.1", taken.getsockname()[1], [taken])]


def _tell(thing: object, method: str, happened: threading.Event) -> None:
    """Set ``happened`` whenever ``method`` of ``thing`` has been called."""
    original = getattr(thing, method)

    def tell(*arguments: object) -> None:
        original(*arguments)
        happened.set()

    setattr(thing, method, tell)


def _get_and_fail(url: str) -> None:
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}{GPU}/clusters", headers=KEY, timeout=60)


def test_answers_tell_the_time_of_the_wall_clock_unless_they_are_told_otherwise(
    http: httpx2.Client,
) -> None:
    def date() -> list[str]:
        return http.get(f"{GPU}/clusters").headers.get_list("date")

    def change(**settings: object) -> None:
        assert http.patch("/_sim/settings", json=settings).status_code == 200

    http.post("/_sim/clock", json={"advance_seconds": 86_400})
    (told,) = date()
    now = datetime.now(UTC)
    assert abs(parsedate_to_datetime(told) - now) < timedelta(minutes=5)
    change(date_skew_seconds=7200)
    (told,) = date()
    assert abs(parsedate_to_datetime(told) - now - timedelta(hours=2)) < timedelta(minutes=5)
    add_fault(http, kind="html", route="clusters", times=1)
    assert len(date()) == 1
    change(date_sent=False)
    assert date() == []
