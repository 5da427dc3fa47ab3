"""Rows 5.2 to 5.4 of the requirements: settings, and endpoints for supervisors."""

from pathlib import Path

import httpx2

from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.program import run
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually

BAD_CONFIGURATION = 78

# One wrong value for each kind of setting; secrets among them say so.
FAULTS = {
    "NOVITA_BASE_URL": "api.novita.ai",
    "GPUKEEPER_HOST": "not a host",
    "GPUKEEPER_PORT": "65536",
    "GPUKEEPER_API_KEYS": "canary",
    "GPUKEEPER_WEBHOOK_URL": "ftp://hooks.example/",
    "GPUKEEPER_WEBHOOK_SECRET": "whsec_canary",
    "GPUKEEPER_WEBHOOK_RETRIES": "-1",
    "GPUKEEPER_WEBHOOK_ALLOW": "10.0.0.0/99",
    "GPUKEEPER_POLL_INTERVAL": "0",
    "GPUKEEPER_STARTUP_TIMEOUT": "ten minutes",
    "GPUKEEPER_SECRET_KEY": "canary",
    "GPUKEEPER_NOVITA_RATE": "fast",
    "GPUKEEPER_LOG_LEVEL": "loud",
    "GPUKEEPER_DATABASE_URL": "mysql://user:canary@db/x",
    "GPUKEEPER_POL_INTERVAL": "30",
}


def test_5_2_environment_variables_and_files_configure_it(
    serve: Serve, own_novita: Novita, receiver: Receiver, tmp_path: Path
) -> None:
    key_file = tmp_path / "novita_key"
    key_file.write_text("key-from-a-file\n")
    own_novita.switch(api_keys=("key-from-a-file",))
    (tmp_path / ".env").write_text(
        "GPUKEEPER_REGION=US-CA-06\nGPUKEEPER_WEBHOOK_SECRET=what-the-environment-overrules\n"
    )
    database = tmp_path / "elsewhere.db"

    service = serve(
        NOVITA_API_KEY="",
        NOVITA_API_KEY_FILE=str(key_file),
        GPUKEEPER_API_KEYS="first-of-two-api-keys,second-of-two-api-keys",
        GPUKEEPER_DATABASE_URL=f"sqlite:///{database}",
        GPUKEEPER_WEBHOOK_ALLOW="127.0.0.0/8",
    )
    instance = service.running(webhookUrl=f"{receiver.url}/of-a-caller")

    assert instance["clusterId"] == "us-ca-6"
    assert database.exists()
    assert eventually(lambda: receiver.hooks(instance["id"], path="/hook/of-a-caller"), "a hook")
    for key, status in (("second-of-two-api-keys", 200), ("another", 401)):
        headers = {"authorization": f"Bearer {key}"}
        assert service.get("/api/instances", headers=headers).status_code == status


def test_5_3_bad_configuration_stops_it_at_once_with_every_fault_named(tmp_path: Path) -> None:
    settings = FAULTS | {"GPUKEEPER_DATA_DIR": str(tmp_path / "data")}

    ended = run("serve", settings=settings, directory=tmp_path)

    assert ended.returncode == BAD_CONFIGURATION
    named = [line.split(":")[0] for line in ended.stderr.splitlines()]
    assert sorted(named) == sorted([*FAULTS, "NOVITA_API_KEY"])
    assert "did you mean GPUKEEPER_POLL_INTERVAL?" in ended.stderr
    assert "canary" not in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "data").exists()


def test_5_3_it_does_not_listen_beyond_this_machine_without_a_key(tmp_path: Path) -> None:
    settings = {"NOVITA_API_KEY": "key", "GPUKEEPER_HOST": "0.0.0.0"}

    ended = run("serve", settings=settings, directory=tmp_path)

    assert ended.returncode == BAD_CONFIGURATION
    assert ended.stderr.startswith("GPUKEEPER_API_KEYS: is required")


def test_5_4_health_endpoints_answer_without_a_key(service: Service, novita: Novita) -> None:
    with httpx2.Client(base_url=service.url, trust_env=False) as stranger:
        live, ready, health = map(stranger.get, ("/health/live", "/health/ready", "/health"))
        assert stranger.get("/metrics").status_code == 401

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "problems": []})
    assert health.status_code == 200
    turns = {loop["name"]: loop["lastTurnAt"] for loop in health.json()["loops"]}
    assert {"look", "reconcile", "deliver"} <= set(turns)
    assert all(turns.values())


def test_5_4_health_tells_whether_novita_is_reachable(service: Service, novita: Novita) -> None:
    def is_reachable() -> object:
        return service.get("/health").json()["novita"]["reachable"]

    eventually(is_reachable, "Novita")
    novita.fault("html", status=503)
    eventually(lambda: is_reachable() is False, "the outage")

    assert service.get("/health/ready").status_code == 200, "it serves what it knows"
    novita.recover()
    eventually(is_reachable, "Novita again")
