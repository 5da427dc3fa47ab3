"""What it costs to watch three hundred instances that start, and how soon a change is announced."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from tests.e2e.conftest import starter
from tests.e2e.novita import Novita, simulating
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Json, Service
from tests.e2e.waiting import eventually

INSTANCES = 300
ROWS_PER_PAGE = 100
POLL_SECONDS = 1.0

# What is promised beyond the poll interval, from a change at Novita to its webhook.
MARGIN_SECONDS = 0.5


@pytest.fixture(scope="module")
def simulated_novita() -> Iterator[Novita]:
    """Give a simulator that nobody else looks at, and whose machines come up when told to."""
    with simulating() as novita:
        novita.fate("pull-forever", times=INSTANCES)
        yield novita


@pytest.fixture(scope="module")
def service(
    simulated_novita: Novita,
    listening_receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """Give a service that polls like one in production, only more often."""
    with ExitStack() as stack:
        start = starter(stack, tmp_path_factory.mktemp("many"), simulated_novita)
        yield start(
            GPUKEEPER_POLL_INTERVAL=str(POLL_SECONDS),
            GPUKEEPER_SWEEP_INTERVAL="60",
            GPUKEEPER_LOG_LEVEL="info",
            GPUKEEPER_WEBHOOK_URL=listening_receiver.url,
        )


@pytest.fixture(scope="module")
def fleet(service: Service) -> list[Json]:
    """Give the instances, all of them starting and none of them getting anywhere."""
    names = [f"many-{number}" for number in range(INSTANCES)]
    with ThreadPoolExecutor(16) as pool:
        ordered = list(pool.map(lambda name: service.order(name=name), names))
    query = {"status": "starting", "limit": 1}
    eventually(
        lambda: service.get("/api/instances", params=query).json()["total"] == INSTANCES,
        "the start of all",
    )
    return ordered


def test_one_look_at_300_starting_instances_costs_four_calls_at_most(
    simulated_novita: Novita, fleet: list[Json]
) -> None:
    before = len(simulated_novita.visits())
    eventually(lambda: len(_looks(simulated_novita.visits()[before:])) > 3, "some looks")

    visits = simulated_novita.visits()[before:]

    assert {visit.route for visit in visits} == {"list"}
    pages = math.ceil(INSTANCES / ROWS_PER_PAGE)
    # The first look may have begun before, and the last one may not be over.
    costs = [len(look) for look in _looks(visits)[1:-1]]
    assert min(costs) >= pages
    assert max(costs) <= pages + 1


def test_a_change_at_novita_is_announced_within_the_poll_interval_and_half_a_second(
    service: Service, simulated_novita: Novita, listening_receiver: Receiver, fleet: list[Json]
) -> None:
    # The worst moment for a change is just after a look.
    _wait_for_a_look(service)
    changed_at = time.monotonic()
    simulated_novita.act(fleet[0]["novitaId"], "set", status="running")

    hook = listening_receiver.wait_for(fleet[0]["id"], "instance.running")

    assert hook.arrived_at - changed_at <= POLL_SECONDS + MARGIN_SECONDS


def _looks(visits: Sequence[RequestRecord]) -> list[list[RequestRecord]]:
    """Return the visits of each look; within one, pages are read in their order."""
    looks: list[list[RequestRecord]] = []
    last_page = math.inf
    for visit in visits:
        page = int(visit.query["pageNum"])
        if page <= last_page:
            looks.append([])
        looks[-1].append(visit)
        last_page = page
    return looks


def _wait_for_a_look(service: Service) -> None:
    """Wait until a look has just ended."""

    def last_look_at() -> str:
        return str(service.get("/health").json()["novita"]["lastLookAt"])

    before = last_look_at()
    eventually(lambda: last_look_at() != before, "a look")
