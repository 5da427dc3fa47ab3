"""No secret is shown anywhere, but for a machine's password where a caller asks for it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gpukeeper.simulator.market.create_request import Env
from gpukeeper.simulator.market.sample_catalogue import Credential
from tests.e2e.canaries import shown
from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.program import run
from tests.e2e.receiver import Receiver
from tests.e2e.serving import API_KEY, NOVITA_KEY, ORDER, SECRET_KEY, WEBHOOK_SECRET, Json, Service

SECOND_KEY = "canary-second-api-key-c64d"
OLD_WEBHOOK_SECRET = "whsec_Y2FuYXJ5LW9sZC13ZWJob29rLXNlY3JldC0wMDAwMDAwMQ=="
ENV_VALUE = "canary env-value/5b2e&"
BAD_VALUE = "canary-bad-value-77d0"
TEMPLATE_VALUE = "canary-template-value-e0a9"
REGISTRY_USER = "canary-registry-user"
REGISTRY_PASSWORD = "canary-registry-password-18f3"

SECRETS = {
    "Novita's key": NOVITA_KEY,
    "our key": API_KEY,
    "our second key": SECOND_KEY,
    "the webhook secret": WEBHOOK_SECRET.removeprefix("whsec_").rstrip("="),
    "the webhook secret, decoded": "canary-webhook-secret-0000000001",
    "the old webhook secret": OLD_WEBHOOK_SECRET.removeprefix("whsec_").rstrip("="),
    "the secret key": SECRET_KEY.rstrip("="),
    "the secret key, decoded": "canary-secret-key-00000000000000",
    "an order's environment": ENV_VALUE,
    "a bad order's environment": BAD_VALUE,
    "a template's environment": TEMPLATE_VALUE,
    "a registry's user": REGISTRY_USER,
    "a registry's password": REGISTRY_PASSWORD,
}

BAD_ORDERS: tuple[Json, ...] = (
    *({**ORDER, "envs": envs} for envs in (BAD_VALUE, [BAD_VALUE], {"TOKEN": [BAD_VALUE]})),
    {**ORDER, "envs": {"TOKEN": BAD_VALUE * 1000}},
    {**ORDER, "envs": {f"TOKEN={BAD_VALUE}": ""}},
    {**ORDER, "envz": {"TOKEN": BAD_VALUE}},
    {**ORDER, "env": BAD_VALUE},
    {**ORDER, f"envs={BAD_VALUE}": 1},
    {**ORDER, "webhookUrl": f"https://user:{BAD_VALUE}@hooks.example/"},
    *({**ORDER, field: BAD_VALUE * 100} for field in ("name", "productName", "templateId")),
    *({**ORDER, field: BAD_VALUE} for field in ("gpuNum", "billingMode", "ports", "labels")),
    *({**ORDER, field: {BAD_VALUE: 1}} for field in ("region", "regions", "maxPricePerHour")),
)
BAD_BODIES = (
    f'{{"envs": {{"TOKEN": "{BAD_VALUE}"',
    f'{{"envs": "{BAD_VALUE}", "envs": "{BAD_VALUE}"}}',
    f'"{BAD_VALUE}"',
    f'["{BAD_VALUE}"]',
    f"envs={BAD_VALUE}",
)


@dataclass(frozen=True, slots=True)
class House:
    """A service that has been told every secret, and an instance of it that runs."""

    service: Service
    novita: Novita
    instance: Json
    cookie: str
    connection: httpx2.Response

    @property
    def secrets(self) -> dict[str, str]:
        """Everything that must not be shown."""
        password: str = self.connection.json()["sshPassword"]
        return SECRETS | {"a machine's password": password, "a session's cookie": self.cookie}

    def ask(self, path: str, **options: Any) -> bytes:
        """Return an answer's headers and body; it has to be a success."""
        answer = self.service.get(path, **options)
        assert answer.status_code == 200, path
        return _all_of(answer)


@pytest.fixture
def house(serve: Serve, own_novita: Novita, receiver: Receiver) -> House:
    """Tell a service of its own every secret."""
    _plant(own_novita)
    service = serve(
        GPUKEEPER_API_KEYS=f"{API_KEY},{SECOND_KEY}",
        GPUKEEPER_WEBHOOK_SECRET=f"{WEBHOOK_SECRET},{OLD_WEBHOOK_SECRET}",
        GPUKEEPER_WEBHOOK_URL=receiver.url,
        GPUKEEPER_NOVITA_RETRIES="0",
    )
    service.running(templateId="tpl-private")
    instance = service.running(templateId="tpl-login", envs={"TOKEN": ENV_VALUE})
    receiver.wait_for(instance["id"], "instance.running")
    cookie = _sign_in(service, API_KEY)
    connection = service.get(f"/api/instances/{instance['id']}/connection")
    return House(service, own_novita, instance, cookie.split("=", 1)[1], connection)


def test_the_password_is_shown_where_it_is_asked_for_and_nothing_else_is(house: House) -> None:
    place = {"/connection": _all_of(house.connection)}
    places = {
        f"ssh {' '.join(more)}": _command(house, "ssh", house.instance["id"], *more)
        for more in ((), ("-o", "json"), ("--show-password",), ("--show-password", "-o", "json"))
    }

    # So the search does find what is there.
    assert shown(house.secrets, place) == [("a machine's password", "/connection")]
    assert shown(house.secrets, places) == [
        ("a machine's password", "ssh --show-password"),
        ("a machine's password", "ssh --show-password -o json"),
    ]


def test_no_answer_to_a_read_shows_a_secret(house: House) -> None:
    document = house.service.get("/openapi.json").json()["paths"]
    paths = {path for path, operations in document.items() if "get" in operations}
    paths -= {"/api/events", "/api/instances/{instanceId}/connection"}
    instance_id = house.instance["id"]
    delivery = house.service.get("/api/deliveries").json()["deliveries"][0]["id"]
    filled = [path.format(instanceId=instance_id, id=delivery) for path in sorted(paths)]
    more = (f"/api/instances/{instance_id}?refresh=true", "/openapi.json", "/docs", "/problems")

    places = {path: house.ask(path) for path in (*filled, *more)}
    places["/api/events"] = _stream(house)

    assert len(filled) > 10
    assert all(instance_id.encode() in places[f"/api/{kind}"] for kind in ("instances", "events"))
    assert shown(house.secrets, places) == []


def test_no_page_of_the_dashboard_shows_a_secret(house: House) -> None:
    places = dict(_crawl(house))

    assert len(places) > 15
    assert f"/instances/{house.instance['id']}" in places
    assert shown(house.secrets, places) == []


def test_no_refusal_and_no_log_line_shows_what_was_wrong(house: House) -> None:
    service = house.service
    # Novita repeats in its refusal what it was told.
    message = f"bad value {ENV_VALUE} for {REGISTRY_USER}:{REGISTRY_PASSWORD}, {TEMPLATE_VALUE}"
    house.novita.fate("refuse", reason="VALIDATOR_PARAM", message=message)
    refused = service.try_order(templateId="tpl-login", envs={"TOKEN": ENV_VALUE})
    assert refused.status_code == 502
    assert "***" in refused.json()["detail"]
    wrong_key = {"authorization": f"Bearer {API_KEY}+"}
    bad = [
        *(service.post("/api/instances", json=body) for body in BAD_ORDERS),
        *(
            service.post("/api/instances", content=body, headers={"content-type": kind})
            for body in BAD_BODIES
            for kind in ("application/json", "text/plain")
        ),
        service.post("/api/webhooks/test", json={"secret": WEBHOOK_SECRET}),
        service.get("/api/instances", params={"api_key": API_KEY}),
        service.get("/api/instances", params={"status": BAD_VALUE, "cursor": BAD_VALUE}),
        service.get("/api/instances", headers=wrong_key),
        service.get("/api/instances", headers={"authorization": f"Basic {API_KEY}"}),
        service.get("/", headers={"cookie": f"gpukeeper_session={house.cookie}+"} | wrong_key),
        service.post("/login", data={"key": f"{API_KEY}+"}),
        service.post("/login", json={"key": f"{API_KEY}+"}),
        service.post("/login", json={"kee": API_KEY}),
    ]
    assert {answer.status_code for answer in bad} == {400, 401, 415}

    answers = {f"{n}: {a.request.url.path}": _all_of(a) for n, a in enumerate([refused, *bad])}
    assert shown(house.secrets, answers) == []
    logs = _logs(house)
    assert shown(house.secrets, logs) == []
    assert all(b"novita_rejected" in logs[name] for name in ("output-1.log", "gpukeeper.log"))


def test_no_webhook_and_no_file_shows_a_secret(
    house: House, receiver: Receiver, tmp_path: Path
) -> None:
    instance_id = house.instance["id"]
    hooks = receiver.hooks(instance_id)
    places = {f"webhook {hook.type}": f"{hook.headers}".encode() + hook.body for hook in hooks}
    database = {path.name: path.read_bytes() for path in house.service.data_dir.glob("*.db*")}
    copied = _command(house, "backup", str(tmp_path / "copy.db"))
    copy = {"backup": (tmp_path / "copy.db").read_bytes()}

    places |= _logs(house) | database | copy | {"what backup says": copied}
    assert len(hooks) >= 2
    assert instance_id.encode() in copy["backup"]
    assert any(instance_id.encode() in content for content in database.values())
    assert shown(house.secrets, places) == []


def test_no_command_that_reads_shows_a_secret(house: House) -> None:
    instance_id = house.instance["id"]
    delivery = house.service.get("/api/deliveries").json()["deliveries"][0]["id"]
    reading = (
        *(("ls",), ("show", instance_id), ("wait", instance_id), ("events", instance_id)),
        *(("offers",), ("deliveries", "ls"), ("deliveries", "show", delivery), ("orphans", "ls")),
    )

    places = {
        f"{command} {form}": _command(house, *command, "-o", form)
        for command in reading
        for form in ("json", "table")
    }
    places |= {name: _command(house, name) for name in ("check", "migrate")}

    assert shown(house.secrets, places) == []


def _command(house: House, *arguments: str) -> bytes:
    """Return what a command writes to stdout and stderr; it has to succeed."""
    service = house.service
    known = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": SECOND_KEY}
    settings = dict(service.settings) | known | {"GPUKEEPER_DATA_DIR": str(service.data_dir)}
    done = run(*arguments, settings=settings, directory=service.directory)
    assert done.returncode == 0, (arguments, done.stderr)
    return f"{done.stdout}\n{done.stderr}".encode()


def _plant(novita: Novita) -> None:
    """Put secrets into the template and the registry's credentials at Novita."""
    world = novita.simulator.world
    with world.lock:
        template = world.templates["tpl-private"]
        envs = (*template.envs, Env("PLANTED", TEMPLATE_VALUE))
        world.templates[template.id] = replace(template, envs=envs)
        # The other way of Novita's to give a template the credentials of its registry.
        login = f"{REGISTRY_USER}:{REGISTRY_PASSWORD}"
        given = replace(template, id="tpl-login", envs=envs, image_auth=login)
        world.templates[given.id] = given
        known = world.credentials[template.image_auth]
        planted = Credential(known.id, known.name, REGISTRY_USER, REGISTRY_PASSWORD)
        world.credentials[known.id] = planted


def _sign_in(service: Service, key: str) -> str:
    """Return the cookie of a new session; nothing else of the answer may show the key."""
    answer = service.post("/login", data={"key": key})
    assert answer.status_code == 303
    service.http.cookies.clear()
    assert shown(SECRETS, {"the login": _all_of(answer)}) == []
    return answer.headers["set-cookie"].partition(";")[0]


def _all_of(answer: httpx2.Response) -> bytes:
    return f"{answer.headers.multi_items()}\n{unescape(answer.text)}".encode() + answer.content


def _stream(house: House) -> bytes:
    """Return the live events from the very first one to that of the running instance."""
    text = b""
    with house.service.http.stream("GET", "/api/events?lastEventId=0") as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            text += piece
            if b"event: instance.running" in text and text.endswith(b"\n\n"):
                break
    return f"{answer.headers.multi_items()}\n".encode() + text


def _crawl(house: House) -> Iterator[tuple[str, bytes]]:
    """Give every page that links lead to from the fleet, but for the one with the password."""
    seen, ahead = {"/"}, ["/"]
    headers = {"cookie": f"gpukeeper_session={house.cookie}", "accept": "text/html"}
    with httpx2.Client(base_url=house.service.url, headers=headers, trust_env=False) as browser:
        while ahead:
            path = ahead.pop()
            answer = browser.get(path)
            assert answer.status_code == 200, path
            yield path, _all_of(answer)
            links = re.findall(r'(?:href|src)=["\'](/[^"\'#]*)', answer.text)
            new = {unescape(link) for link in links} - seen
            seen |= new
            ahead += [link for link in sorted(new) if not link.endswith("/connection")]


def _logs(house: House) -> dict[str, bytes]:
    """Return what was logged; every line of it is JSON."""
    paths = [*house.service.directory.glob("*-1.log"), *house.service.data_dir.glob("logs/*")]
    logs = {path.name: path.read_bytes() for path in paths}
    assert logs.keys() == {"output-1.log", "errors-1.log", "gpukeeper.log"}
    assert all(json.loads(line) for content in logs.values() for line in content.splitlines())
    return logs
