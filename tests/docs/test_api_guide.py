"""The API guide: its examples work, and no route is without one."""

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from gpukeeper.client import Client
from gpukeeper.domain.ids import novita_name
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from tests.docs.pages import DOCS, program
from tests.docs.running import run_page
from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually

Route = tuple[str, str]


def test_every_route_is_in_the_guide() -> None:
    guide = (DOCS / "api.md").read_text()

    assert [route for route in documented() if f"`{' '.join(route)}`" not in guide] == []


def test_everything_that_the_client_offers_is_in_the_guide() -> None:
    used = set(re.findall(r"\bclient\.(\w+)\b", program("api.md", "python")))
    offered = {name for name in vars(Client) if not name.startswith("_")}

    assert offered - used == set()


@pytest.mark.parametrize("language", ["sh", "python"])
def test_the_examples_ask_every_route_and_are_answered(
    language: str, service: Service, novita: Novita, receiver: Receiver
) -> None:
    lose_two_machines(service, novita)

    before = answered(service)
    run_page("api.md", language, service)

    after = answered(service)
    assert [each for each in documented() if after[each] <= before[each]] == []
    (ordered,) = service.get("/api/instances?name=by-").json()["instances"]
    assert ordered["status"] == "deleted"
    verbs = [each for each in service.history(ordered["id"]) if each != "starting"]
    assert verbs == [
        *("requested", "created", "running", "stopping", "stopped", "running", "running"),
        *("deleting", "deleted"),
    ]
    # Redelivered: the same event for a second time, under the same id.
    eventually(lambda: len(receiver.hooks(ordered["id"], type="instance.created")) == 2, "another")
    eventually(lambda: receiver.hooks(type="webhook.test"), "the test event")
    kept, deleted = service.get("/api/instances?name=orphan-").json()["instances"]
    assert {kept["status"], deleted["status"]} <= {"running", "deleting", "deleted"}
    assert service.get("/api/orphans").json() == {"orphans": []}


def documented() -> list[Route]:
    """Return every route of the OpenAPI document."""
    paths = json.loads((DOCS / "openapi.json").read_text())["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def answered(service: Service) -> Counter[Route]:
    """Return how often each route was asked and did not refuse."""
    text = service.get("/metrics").text
    line = r'_http_requests_total\{method="(\w+)",route="([^"]+)",status="2\d\d"\} (\S+)'
    counts = Counter[Route]()
    for method, route, count in re.findall(line, text):
        counts[method, route] += int(float(count))
    return counts


def lose_two_machines(service: Service, novita: Novita) -> None:
    """Have two machines at Novita that the store has forgotten, and wait until they are seen."""
    with closing(sqlite3.connect(service.data_dir / "gpukeeper.db")) as connection:
        query = "SELECT body FROM facts WHERE key = 'deployment'"
        (body,) = connection.execute(query).fetchone()
    for number in range(2):
        name = novita_name(f"orphan-{number}", json.loads(body), bytes([number] * 5))
        with novita.simulator.world.lock:
            add_foreign_machines(novita.simulator.world, ForeignMachines(name=name))
    eventually(lambda: len(service.get("/api/orphans").json()["orphans"]) == 2, "the orphans")
