"""Several real processes on one PostgreSQL: they share all work, and any one may die."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import starter
from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually
from tests.postgres import Databases

Replica = Callable[..., Service]


@pytest.fixture
def replica(
    postgres: Databases, own_novita: Novita, receiver: Receiver, tmp_path: Path
) -> Iterator[Replica]:
    """Give a function that starts a replica with a data directory of its own."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres.new())

        def start(name: str, **settings: str) -> Service:
            directory = tmp_path / name
            directory.mkdir()
            environ = {
                "GPUKEEPER_DATABASE_URL": url,
                "GPUKEEPER_WEBHOOK_URL": receiver.url,
            }
            return starter(stack, directory, own_novita)(**environ, **settings)

        yield start


def test_an_order_at_one_replica_is_known_to_the_other_and_announced_once(
    replica: Replica, receiver: Receiver
) -> None:
    one, two = replica("one"), replica("two")
    ordered = one.order()
    assert two.wait_for(ordered["id"], "running")["novitaId"] == ordered["novitaId"]
    receiver.wait_for(ordered["id"], "instance.running")
    ids = [hook.id for hook in receiver.hooks(ordered["id"])]
    assert len(ids) == len(set(ids))
    assert two.history(ordered["id"]).count("running") == 1


def test_what_a_dead_replica_held_is_taken_over_and_nothing_is_doubled(
    replica: Replica, own_novita: Novita, receiver: Receiver
) -> None:
    doomed, stays = replica("doomed"), replica("stays")
    ordered = [doomed.order(name=f"m-{number}") for number in range(3)]
    doomed.kill()
    for instance in ordered:
        stays.wait_for(instance["id"], "running")
        receiver.wait_for(instance["id"], "instance.running")
        assert stays.history(instance["id"]).count("running") == 1
    assert len(own_novita.machines("m-")) == 3


def test_a_replica_drains_within_ten_seconds_and_leaves_no_lease(replica: Replica) -> None:
    one, two = replica("one"), replica("two")
    one.order()
    status, seconds = one.stop_timed()
    assert status == 0
    assert seconds < 10
    assert eventually(lambda: two.get("/health/ready").is_success, "readiness")
