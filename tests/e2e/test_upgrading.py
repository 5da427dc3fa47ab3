"""Replicas are replaced one after the other by those of a newer version, under the same orders."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from tests.crash.invariants import bought_twice, unrest
from tests.e2e.novita import Novita
from tests.e2e.program import COMMAND, ROOT, run
from tests.e2e.receiver import Receiver
from tests.e2e.serving import QUICK, Service
from tests.e2e.waiting import eventually
from tests.invariants import broken_always, broken_at_novita, machines_in
from tests.postgres import Databases

NEWER = (sys.executable, "-m", "tests.e2e.newer")
BAD_CONFIGURATION = 78
Start = Callable[..., Service]


@pytest.fixture
def url(postgres: Databases) -> Iterator[str]:
    """Give the URL of an empty database."""
    with postgres.new() as url:
        yield url


@pytest.fixture
def start(url: str, own_novita: Novita, receiver: Receiver, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a replica of this version, or of a newer one by its name."""
    with ExitStack() as stack:

        def start(name: str, newer: str | None = None) -> Service:
            settings = QUICK | {
                "NOVITA_BASE_URL": own_novita.url,
                "GPUKEEPER_DATABASE_URL": url,
                "GPUKEEPER_WEBHOOK_URL": receiver.url,
                "PYTHONPATH": str(ROOT),
            }
            command = COMMAND if newer is None else (*NEWER, newer)
            service = Service(tmp_path / name, settings, command=command)
            stack.callback(service.close)
            service.start()
            return service

        yield start


def test_old_and_new_replicas_work_side_by_side_across_an_additive_step(
    start: Start, url: str, own_novita: Novita, receiver: Receiver
) -> None:
    old = start("old")
    ordered = [old.order(name="before")["id"]]
    # The new one makes the step while the old one works.
    new = start("new", "additive")
    ordered += [old.order(name="by-old")["id"], new.order(name="by-new")["id"]]
    for instance_id in ordered:
        shown = [replica.wait_for(instance_id, "running") for replica in (old, new)]
        assert shown[0]["novitaId"] == shown[1]["novitaId"]
    # The old version may also start on the schema that it has never seen.
    assert old.stop() == 0
    old.start()
    assert old.log("schema_is_newer", revision="9001") != []
    # The old one alone goes on with what the new one has begun.
    ordered.append(new.order(name="last")["id"])
    assert new.stop() == 0
    for instance_id in ordered:
        old.wait_for(instance_id, "running")
        receiver.wait_for(instance_id, "instance.running")
        assert old.history(instance_id).count("running") == 1
    everything_is_well(url, own_novita, receiver, machines=len(ordered))


def test_a_replica_that_is_too_old_for_the_schema_is_unready_and_does_not_start_again(
    start: Start, tmp_path: Path
) -> None:
    old = start("old")
    newer = run("migrate", settings=old.settings, directory=tmp_path, command=(*NEWER, "breaking"))
    assert newer.returncode == 0
    eventually(lambda: old.get("/health/ready").status_code == 503, "the end of its time")
    (problem,) = old.get("/health/ready").json()["problems"]
    assert "revision 9002 of a newer gpukeeper 9.2.0" in problem

    refused = run("serve", settings=old.settings, directory=tmp_path)
    assert refused.returncode == BAD_CONFIGURATION
    assert refused.stderr == f"GPUKEEPER_DATABASE_URL: {problem}\n"


def everything_is_well(url: str, novita: Novita, receiver: Receiver, *, machines: int) -> None:
    """Check that nothing was lost, doubled or forgotten."""
    world = novita.simulator.world
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def broken() -> list[str]:
        with engine.connect() as connection:
            return [
                *unrest(connection),
                *broken_always(connection, urls=[receiver.url]),
                *broken_at_novita(connection, machines_in(world)),
            ]

    eventually(lambda: not broken(), "rest")
    engine.dispose()
    assert bought_twice(world) == []
    assert len(world.machines) == machines
