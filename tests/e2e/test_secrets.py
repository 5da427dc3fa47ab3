"""No secret is shown anywhere, but for a machine's password where a caller asks for it."""

from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.e2e.serving import API_KEY, NOVITA_KEY, SECRET_KEY, WEBHOOK_SECRET, Json, Service

ENV_VALUE = "canary-env-value-5b2e"
LONG_VALUE = "canary-long-value-77d0"

SECRETS = {
    "Novita's key": NOVITA_KEY,
    "our key": API_KEY,
    "the webhook secret": WEBHOOK_SECRET.removeprefix("whsec_"),
    "the secret key": SECRET_KEY,
    "an order's environment": ENV_VALUE,
    "a bad order's environment": LONG_VALUE,
    "a template's environment": "template-secret-value",
    "a registry's password": "registry-password-in-clear",
}


def test_no_secret_leaves_but_by_connection(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    order: Json = {"templateId": "tpl-private", "envs": {"TOKEN": ENV_VALUE}}
    instance = service.running(**order)
    receiver.wait_for(instance["id"], "instance.running")
    connection = service.get(f"/api/instances/{instance['id']}/connection")
    # Novita repeats in its refusal what it was told.
    novita.fate("refuse", reason="VALIDATOR_PARAM", message=f"bad value {ENV_VALUE}")
    refused = service.try_order(**order)
    bad = service.try_order(envs={"TOKEN": LONG_VALUE * 1000})
    stranger = service.get("/api/instances", headers={"authorization": f"Bearer {API_KEY}+"})
    assert (refused.status_code, bad.status_code, stranger.status_code) == (502, 400, 401)

    places = {
        **{path: _everything(service, path) for path in _paths(service, instance)},
        "the login": service.post("/login", data={"key": API_KEY}).headers["set-cookie"],
        "a failed login": service.post("/login", data={"key": f"{API_KEY}+"}).text,
        "a refusal": refused.text,
        "a bad order": bad.text,
        "a stranger's request": stranger.text,
        "the output": (service.directory / "output-1.log").read_text(),
        "the log file": (service.data_dir / "logs" / "gpukeeper.log").read_text(),
        "webhooks": "".join(f"{hook.headers} {hook.body!r}" for hook in receiver.hooks()),
        "the database": "".join(
            path.read_bytes().decode("latin-1") for path in service.data_dir.glob("gpukeeper.db*")
        ),
    }

    password = connection.json()["sshPassword"]
    assert connection.json()["sshCommand"].startswith("ssh -p ")
    assert len(password) == 20
    secrets = SECRETS | {"a machine's password": password}
    shown = [
        (secret, place)
        for place, text in places.items()
        for secret, value in secrets.items()
        if value in text
    ]
    assert shown == []
    assert not any(value in connection.text for value in SECRETS.values())
    # What was looked through is what it was meant to be.
    assert all(
        instance["id"] in places[place] for place in ("the output", "webhooks", "the database")
    )
    assert "***" in refused.json()["detail"]


def _paths(service: Service, instance: Json) -> list[str]:
    """Return the paths of everything that can be read, but for `/connection`."""
    about = f"/api/instances/{instance['id']}"
    deliveries = service.get("/api/deliveries", params={"instanceId": instance["id"]}).json()
    return [
        *(about, f"{about}?refresh=true", f"{about}/events", "/api/instances?limit=1000"),
        *(f"/api/deliveries/{delivery['id']}" for delivery in deliveries["deliveries"]),
        *("/api/deliveries?limit=1000", "/api/offers", "/api/orphans", "/metrics"),
        *(
            "/health",
            "/health/live",
            "/health/ready",
            "/openapi.json",
            "/docs",
            "/problems",
            "/login?next=/docs",
        ),
    ]


def _everything(service: Service, path: str) -> str:
    answer = service.get(path)
    assert answer.status_code == 200, path
    return f"{answer.headers} {answer.text}"
