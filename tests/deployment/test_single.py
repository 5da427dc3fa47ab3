"""`docker compose up` on SQLite: the demo, an ordinary configuration, and wrong ones."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.deployment.conftest import describing
from tests.deployment.stack import ComposeFailed, Stack

KEY = "a-key-of-the-compose-tests"
OURS = {
    "NOVITA_API_KEY": "simulated",
    "NOVITA_BASE_URL": "http://simulator:9090",
    "GPUKEEPER_API_KEYS": KEY,
    "GPUKEEPER_WEBHOOK_URL": "http://listener:9091/",
    "GPUKEEPER_POLL_INTERVAL": "1",
}

Describe = Callable[..., Stack]


@pytest.fixture(scope="module")
def ours(images: dict[str, str]) -> Iterator[Stack]:
    """Give a stack with settings of its own that the tests share."""
    with describing(images) as describe:
        ours = describe(settings=OURS, key=KEY)
        ours.up()
        yield ours


def test_the_demo_needs_no_key_and_ends_with_a_verified_webhook(stack: Describe) -> None:
    demo = stack()
    demo.up()
    ordered = demo.order()
    demo.wait_for_webhook("instance.running", ordered["id"])
    assert demo.instance(ordered["id"])["status"] == "running"


def test_what_is_missing_stops_everything_with_a_sentence_for_each(stack: Describe) -> None:
    bare = stack(profiles=())
    with pytest.raises(ComposeFailed, match=r"migrate.*exit 78"):
        bare.up()
    said = bare.logs("migrate")
    assert "NOVITA_API_KEY: is required" in said
    assert "GPUKEEPER_API_KEYS: is required" in said
    assert bare.containers("gpukeeper") == []


def test_what_is_wrong_stops_everything_and_is_named(stack: Describe) -> None:
    wrong = stack(settings=OURS | {"GPUKEEPER_POLL_INTERVAL": "often"}, profiles=())
    with pytest.raises(ComposeFailed, match=r"migrate.*exit 78"):
        wrong.up()
    assert "GPUKEEPER_POLL_INTERVAL" in wrong.logs("migrate")


def test_state_survives_down_and_up(ours: Stack) -> None:
    ordered = ours.order()
    ours.wait_for_webhook("instance.running", ordered["id"])
    events = ours.http.get(f"/api/instances/{ordered['id']}/events").json()["events"]
    ours.down()
    ours.up()
    kept = ours.http.get(f"/api/instances/{ordered['id']}/events").json()["events"]
    assert kept[: len(events)] == events


def test_the_port_is_published_on_this_machine_only_and_needs_the_key(ours: Stack) -> None:
    (name,) = ours.containers("gpukeeper")
    seen = json.loads(_docker("inspect", name))[0]
    addresses = [binding["HostIp"] for binding in seen["NetworkSettings"]["Ports"]["8080/tcp"]]
    assert addresses == ["127.0.0.1"]
    refused = ours.http.get("/api/instances", headers={"authorization": "Bearer another-key-0000"})
    assert refused.status_code == 401


def test_the_container_is_locked_down_and_stops_within_ten_seconds(ours: Stack) -> None:
    (name,) = ours.containers("gpukeeper")
    assert _docker("exec", name, "id", "-u").strip() != "0"
    with pytest.raises(subprocess.CalledProcessError):
        _docker("exec", name, "sh", "-c", "touch /app/anything")
    assert _docker("exec", name, "sh", "-c", "cat /proc/1/comm").strip() == "tini"
    ours.compose("stop", "--timeout", "10", "gpukeeper")
    state = json.loads(_docker("inspect", name))[0]["State"]
    # 137 would be the kill that follows when nobody listens.
    assert state["ExitCode"] == 0
    ours.up()


def _docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
