"""Rows 2.1 to 2.5 of the requirements: from the purchase to `running`, or to failure."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest

from gpukeeper.config import variables
from tests.e2e.conftest import Serve, starter
from tests.e2e.novita import Novita, simulating
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually, stays

POLL_SECONDS = 0.1
DEFAULTS = {variable.name: variable.default for variable in variables()}

# One of each way in which a look fails; the rate limit asks for a second of peace.
FAULTS = ("error", "html", "reset", "cut", "truncated", "empty", "error-200", "rate-limit")


@pytest.fixture(scope="module")
def simulated_novita() -> Iterator[Novita]:
    """Give a simulator that nobody else looks at."""
    with simulating() as novita:
        yield novita


@pytest.fixture(scope="module")
def service(
    simulated_novita: Novita,
    listening_receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """Give a service that looks at Novita only while something is on its way."""
    with ExitStack() as stack:
        start = starter(stack, tmp_path_factory.mktemp("watcher"), simulated_novita)
        yield start(
            GPUKEEPER_POLL_INTERVAL=str(POLL_SECONDS),
            GPUKEEPER_SWEEP_INTERVAL="0",
            GPUKEEPER_NOVITA_RETRIES="0",
            GPUKEEPER_WEBHOOK_URL=listening_receiver.url,
        )


def test_2_1_a_created_instance_is_started_without_being_asked(
    service: Service, novita: Novita
) -> None:
    # As little as Novita may do: it creates the machine and leaves it down.
    novita.switch(auto_start=False)

    instance = service.running()

    starts = [visit.machine for visit in novita.visits("start")]
    assert starts.count(instance["novitaId"]) == 1


def test_2_1_an_instance_that_novita_starts_itself_is_not_started_twice(
    service: Service, novita: Novita
) -> None:
    instance = service.running()

    assert instance["novitaId"] not in [visit.machine for visit in novita.visits("start")]


def test_2_2_its_status_is_polled_at_the_interval(service: Service, novita: Novita) -> None:
    novita.fate("pull-forever")
    before = len(novita.visits("list"))
    instance = service.order()

    eventually(lambda: len(novita.visits("list")) >= before + 5, "five looks")

    looks = [visit.at for visit in novita.visits("list")[before:]]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(looks)]
    assert min(gaps) >= 0.9 * POLL_SECONDS
    assert service.instance(instance["id"])["novitaStatus"] == "pulling"
    assert DEFAULTS["GPUKEEPER_POLL_INTERVAL"] == "30"


def test_2_3_at_running_the_watch_ends_and_the_webhook_is_sent(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    instance = service.running()

    hook = receiver.wait_for(instance["id"], "instance.running")
    looks = len(novita.visits("list"))
    assert hook.json["data"]["instance"]["status"] == "running"
    assert stays(lambda: len(novita.visits("list")) == looks, seconds=5 * POLL_SECONDS)


def test_2_4_not_running_in_time_is_an_error_and_a_failure_webhook(
    serve: Serve, own_novita: Novita, receiver: Receiver
) -> None:
    service = serve(GPUKEEPER_STARTUP_TIMEOUT="3", GPUKEEPER_WEBHOOK_URL=receiver.url)
    own_novita.fate("pull-forever")
    instance = service.order()

    hook = receiver.wait_for(instance["id"], "instance.failed")

    error = hook.json["data"]["error"]
    assert error["code"] == "startup_timeout"
    assert "Novita says 'pulling'" in error["message"]
    assert service.log("instance_changed", instance_id=instance["id"], level="error")
    failed = service.instance(instance["id"])
    assert (failed["status"], failed["reason"]) == ("failed", error)
    assert failed["isBilling"], "its machine exists and costs money"
    assert DEFAULTS["GPUKEEPER_STARTUP_TIMEOUT"] == "600"

    # It is still watched: late is better than never.
    own_novita.act(instance["novitaId"], "set", status="running")
    assert receiver.wait_for(instance["id"], "instance.running")


def test_2_5_rate_limits_and_network_errors_change_only_the_time_of_the_next_look(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    novita.fate("pull-forever")
    ordered = service.order()
    eventually(lambda: service.instance(ordered["id"])["novitaStatus"] == "pulling", "a look")
    before = service.instance(ordered["id"])
    history = service.history(ordered["id"])

    for kind in FAULTS:
        novita.fault(kind, "list", times=1, retry_after=1)
    novita.fault("reset", "list")
    eventually(novita.have_struck, "every fault")

    during = service.instance(ordered["id"])
    assert during["stale"]
    assert {**during, "stale": False, "observedAt": before["observedAt"]} == before
    assert service.history(ordered["id"]) == history
    novita.recover()
    novita.act(ordered["novitaId"], "set", status="running")
    assert service.wait_for(ordered["id"], "running")
    assert receiver.hooks(ordered["id"], type="instance.failed") == []
    visits = novita.visits("list")
    last = max(index for index, visit in enumerate(visits) if visit.fault == "rate-limit")
    assert (visits[last + 1].at - visits[last].at).total_seconds() >= 1
    assert {line["code"] for line in service.log("look_failed")} == {
        "novita_unavailable",
        "novita_rate_limited",
    }
