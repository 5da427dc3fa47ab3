"""`docker compose up` on SQLite: the demo, an ordinary configuration, and wrong ones."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.deployment.conftest import describing
from tests.deployment.stack import DEMO, ORDER, ROOT, ComposeFailed, Stack
from tests.e2e.waiting import eventually

KEY = "a-key-of-the-compose-tests"
OURS = {
    "NOVITA_API_KEY": "simulated",
    "NOVITA_BASE_URL": "http://simulator:9090",
    "GPUKEEPER_API_KEYS": KEY,
    "GPUKEEPER_WEBHOOK_URL": "http://listener:9091/",
    "GPUKEEPER_POLL_INTERVAL": "1",
}

Describe = Callable[..., Stack]


@pytest.fixture
def describe(stack: Describe) -> Describe:
    """Give a function that describes a stack of this test's own."""
    return stack


@pytest.fixture(scope="module")
def ours(images: dict[str, str]) -> Iterator[Stack]:
    """Give a stack with settings of its own that the tests share."""
    with describing(images) as describe:
        ours = describe(settings=OURS, key=KEY)
        ours.up()
        yield ours


def test_the_demo_needs_no_key_and_ends_with_a_verified_webhook(stack: Describe) -> None:
    # Whatever is set for a real account: the demo does not see it.
    real = OURS | {"NOVITA_BASE_URL": "https://api.novita.ai", "GPUKEEPER_DATABASE_URL": "x"}
    demo = stack(files=DEMO, profiles=(), settings=real)
    demo.up()
    ordered = demo.order()
    demo.wait_for_webhook("instance.running", ordered["id"], listener="demo-listener")
    assert demo.instance(ordered["id"])["status"] == "running"
    said = demo.logs("demo")
    assert "http://demo-simulator:9090" in said
    assert "api.novita.ai" not in said
    # A new simulated world does not meet the store of the old one.
    demo.compose("restart", "demo-simulator")
    demo.up()
    assert demo.http.get("/api/instances").json()["instances"] == []


def test_the_demo_shares_neither_name_nor_volume_with_a_real_account() -> None:
    both = [yaml_of(name) for name in ("compose.yaml", "compose.demo.yaml")]
    names, services, volumes = zip(*both, strict=True)
    assert len(set(names)) == 2
    assert not set(services[0]) & set(services[1])
    assert volumes[1] == []


def yaml_of(name: str) -> tuple[str, list[str], list[str]]:
    """Return the name, the services and the volumes that a file declares, as Compose reads it."""
    options = ["-f", name, "--env-file", os.devnull, "--profile", "*"]
    said = subprocess.run(
        ["docker", "compose", *options, "config", "--format", "json"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    read = json.loads(said.stdout)
    return read["name"], list(read["services"]), list(read.get("volumes", {}))


def test_the_profile_demo_starts_nothing_and_names_the_file(stack: Describe) -> None:
    mistaken = stack(
        settings=OURS | {"NOVITA_BASE_URL": "https://api.novita.ai"}, profiles=("demo",)
    )
    with pytest.raises(ComposeFailed, match=r"migrate.*exit 78"):
        mistaken.up()
    assert "docker compose -f compose.demo.yaml up" in mistaken.logs("migrate")
    assert mistaken.containers("gpukeeper") == []


def test_a_backup_is_restored_into_new_volumes_and_repeated_orders_buy_nothing(
    describe: Describe, tmp_path: Path
) -> None:
    stack = describe(settings=OURS, key=KEY)
    stack.up()
    stack.wait_for(stack.order("job-0")["id"], "running")
    stack.compose("exec", "-T", "gpukeeper", "gpukeeper", "backup", "/data/backup.db")
    for name in ("backup.db", "secret_key", "webhook_secret"):
        stack.compose("cp", f"gpukeeper:/data/{name}", str(tmp_path / name))
    newer = [stack.order(f"job-{number}") for number in range(1, 6)]
    before = machines(stack)
    assert len(before) == 6

    # All but the simulator, in which the machines are.
    stack.compose("rm", "--stop", "--force", "gpukeeper", "migrate", "listener")
    for volume in ("state", "logs"):
        _docker("volume", "rm", f"{stack.project}_{volume}")
    archive = subprocess.run(
        ["tar", "-C", tmp_path, "-c", "."], check=True, stdout=subprocess.PIPE
    ).stdout
    said = stack.compose(
        "run", "--rm", "-T", "--no-deps", "gpukeeper", "restore", "-", given=archive
    )
    assert "Restored: /data/gpukeeper.db" in said
    stack.compose("up", "--detach", "--no-build")
    eventually(lambda: "store_restored" in refused(stack), "the refusal")
    eventually(lambda: is_ready(stack), "readiness")
    again = [stack.order(f"job-{number}") for number in range(1, 6)]
    assert [one["novitaId"] for one in again] == [one["novitaId"] for one in newer]
    assert machines(stack) == before


def test_a_file_of_roots_is_named_with_both_users(describe: Describe) -> None:
    stack = describe(settings=OURS, key=KEY)
    image = stack.settings["GPUKEEPER_IMAGE"]
    volume = f"{stack.project}_state"
    spoil = "mkdir -p /data && touch /data/secret_key && chmod 600 /data/secret_key"
    _docker(
        "run", "--rm", "-u", "0", "-v", f"{volume}:/data", "--entrypoint", "sh", image, "-c", spoil
    )
    with pytest.raises(ComposeFailed, match=r"migrate.*exit 78"):
        stack.up()
    said = stack.logs("migrate")
    assert "/data/secret_key belongs to user 0 with mode 600, and this runs as user 10001" in said
    assert "chown 10001 /data/secret_key" in said


def machines(stack: Stack) -> list[str]:
    """Return Novita's ids of the machines that the simulator bills."""
    url = f"http://127.0.0.1:{stack.simulator_port}/gpu-instance/openapi/v1/gpu/instances"
    answer = httpx2.get(url, headers={"authorization": "Bearer any"}, trust_env=False)
    return sorted(one["id"] for one in answer.json()["instances"])


def refused(stack: Stack) -> str:
    """Return how a new order is refused; empty while nobody answers."""
    try:
        return stack.http.post("/api/instances", json=ORDER).text
    except httpx2.HTTPError:
        return ""


def is_ready(stack: Stack) -> bool:
    """Whether the service says that it is ready."""
    return stack.http.get("/health/ready").is_success


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
