"""Who is let in."""

import hashlib
import hmac
import pickle
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr

from gpukeeper.web.keys import Keys
from tests.api.conftest import KEY, connected
from tests.api.double import ServiceDouble
from tests.api.samples import RUNNING

OPEN = {"/health", "/health/live", "/health/ready", "/login", "/logout"}

SECOND_KEY = "another-key-of-16-and-more"

MakeApp = Callable[..., FastAPI]


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Yield the method and a path of every route, in the OpenAPI document or not."""
    for route in iter_route_contexts(app.routes):
        for method in route.methods or ():
            path = route.path or ""
            yield method, path.replace("{instanceId}", "ins_1").replace("{", "").replace("}", "")


async def test_every_route_but_health_needs_a_key(app: FastAPI, service: ServiceDouble) -> None:
    found = sorted(routes_of(app))
    assert ("DELETE", "/api/instances/ins_1") in found
    for page in ("/docs", "/problems", "/openapi.json", "/metrics"):
        assert ("GET", page) in found
    assert {path for _, path in found} >= OPEN

    async with connected(app, key=None) as client:
        for method, path in found:
            response = await client.request(method, path)

            if path in OPEN:
                assert response.status_code != 401, path
                continue
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["code"] == "unauthorized"

    assert service.rows == {RUNNING.id: RUNNING}


async def test_a_path_that_does_not_exist_is_not_told_without_a_key(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        assert (await client.get("/nothing/here")).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY} {KEY}",
        f"Bearer {KEY},{SECOND_KEY}",
        f"Bearer {KEY.upper()}",
        f"Bearer: {KEY}",
    ],
)
async def test_a_wrong_key_is_refused(app: FastAPI, authorization: str) -> None:
    async with connected(app, key=None) as client:
        response = await client.get("/api/orphans", headers={"Authorization": authorization})

    assert response.status_code == 401


@pytest.mark.parametrize(
    "authorization", [f"Bearer {KEY}", f"bearer {SECOND_KEY}", f"BEARER {KEY}"]
)
async def test_each_of_the_keys_lets_in(make_app: MakeApp, authorization: str) -> None:
    async with connected(make_app(api_keys=[KEY, SECOND_KEY]), key=None) as client:
        response = await client.get("/api/orphans", headers={"Authorization": authorization})

    assert response.status_code == 200


async def test_a_key_with_other_than_ascii_letters_is_refused_and_no_fault(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        response = await client.get("/api/orphans", headers=[(b"authorization", b"Bearer \xff")])

    assert response.status_code == 401


async def test_what_is_declared_public_needs_no_key(make_app: MakeApp) -> None:
    app = make_app(is_public=lambda path: path.startswith("/static/"))
    async with connected(app, key=None) as client:
        assert (await client.get("/static/x.css")).status_code == 404
        assert (await client.get("/staticx")).status_code == 401


async def test_no_answer_repeats_a_key(client: httpx2.AsyncClient, app: FastAPI) -> None:
    async with connected(app, key=None) as stranger:
        refused = await stranger.get("/api/orphans", headers={"Authorization": "Bearer wrong-key"})

    assert "wrong-key" not in refused.text
    for path in ("/api/orphans", "/metrics", "/docs", "/openapi.json", "/health"):
        assert KEY not in (await client.get(path)).text


async def test_what_the_openapi_document_has_is_refused_without_a_key(app: FastAPI) -> None:
    operations = [
        (method, path)
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
        if operation["security"]
    ]
    assert len(operations) > 15

    async with connected(app, key=None) as client:
        for method, template in operations:
            path = re.sub(r"\{\w+\}", "ins_1", template)
            assert (await client.request(method, path)).status_code == 401, path


def test_only_digests_of_the_keys_are_kept() -> None:
    keys = Keys([SecretStr(KEY)], clock=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    scope = {"path": "/", "headers": [], "client": ("198.51.100.7", 1)}
    assert keys.recognise(KEY, scope) == hashlib.sha256(KEY.encode()).digest()

    # A pickle has all that an object has.
    vars(keys)["_guesses"] = None
    assert hashlib.sha256(KEY.encode()).digest() in pickle.dumps(keys)
    assert KEY.encode() not in pickle.dumps(keys)


async def test_keys_are_compared_without_telling_how_much_of_one_is_right(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []

    def compare(given: bytes, known: bytes) -> bool:
        compared.append((len(given), len(known)))
        return given == known

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with connected(app, key=None) as client:
        for key in ("x", KEY, KEY + "x" * 1000):
            await client.get("/api/orphans", headers={"Authorization": f"Bearer {key}"})

    assert compared == [(32, 32)] * 3
