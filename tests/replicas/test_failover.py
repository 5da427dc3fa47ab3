"""The database goes away under load and comes back: nothing is lost, and nobody is restarted."""

from pathlib import Path

from tests.e2e.serving import ORDER, Service
from tests.e2e.waiting import eventually
from tests.replicas.fleet import Fleet
from tests.replicas.run import assembled

# What a client that repeats its question sees while the database is away.
_AWAY = frozenset({503})
_ROLES = ("all", "all")
# Orders that are acknowledged before the database goes, and again after it came back.
_ENOUGH = 5


def test_a_database_that_is_away_is_said_and_everything_goes_on_when_it_is_back(
    tmp_path: Path,
) -> None:
    broken: list[str] = []
    with assembled(tmp_path, _ROLES) as fleet:
        processes = [replica.process_id for replica in fleet.replicas]
        with fleet.under_load(broken, passing=_AWAY):
            wait_for_more_orders(fleet)
            fleet.server.stop()
            for replica in fleet.replicas:
                assert_it_says_that_it_cannot_work(replica)
            fleet.server.start()
            for replica in fleet.replicas:
                wait_for_readiness(replica)
            wait_for_more_orders(fleet)
        fleet.come_to_rest()
        counts = fleet.count(broken)

        assert [replica.process_id for replica in fleet.replicas] == processes
    assert counts.broken == ()
    assert (counts.lost, counts.doubled, counts.orphans, counts.webhooks_missing) == (0, 0, 0, 0)


def wait_for_more_orders(fleet: Fleet) -> None:
    """Wait until the clients have got some more orders acknowledged."""
    enough = acknowledged(fleet) + _ENOUGH
    eventually(lambda: acknowledged(fleet) >= enough, "orders")


def acknowledged(fleet: Fleet) -> int:
    """Return how many orders were acknowledged."""
    return sum(len(client.ordered) for client in fleet.clients)


def assert_it_says_that_it_cannot_work(replica: Service) -> None:
    """Assert that a replica without a database says so to everyone, and lives."""
    order = replica.post("/api/instances", json=ORDER | {"name": "in-vain"})
    assert (order.status_code, order.json()["code"]) == (503, "store_unavailable")
    assert "the database cannot be reached" in order.json()["detail"]
    shown = replica.get("/api/instances")
    assert (shown.status_code, shown.json()["code"]) == (503, "store_unavailable")
    readiness = replica.get("/health/ready")
    assert readiness.status_code == 503
    problems: list[str] = readiness.json()["problems"]
    assert any("the database cannot be reached" in problem for problem in problems)
    assert replica.get("/health/live").json() == {"status": "live"}


def wait_for_readiness(replica: Service) -> None:
    """Wait until a replica says that all is well."""
    eventually(lambda: replica.get("/health/ready").is_success, "readiness")
