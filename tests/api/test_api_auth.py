"""Who is let in."""

from collections.abc import Callable, Iterator

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers

from tests.api.conftest import KEY, connected
from tests.api.double import ServiceDouble
from tests.api.samples import RUNNING

OPEN = {"/health", "/health/live", "/health/ready"}

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
    assert ("GET", "/docs") in found

    async with connected(app, key=None) as client:
        for method, path in found:
            response = await client.request(method, path)

            if path in OPEN:
                assert response.status_code == 200, path
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


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "LocalHost",
    ],
)
async def test_without_keys_this_machine_is_served(make_app: MakeApp, host: str) -> None:
    async with connected(make_app(api_keys=[]), key=None) as client:
        response = await client.get("/api/orphans", headers={"Host": host})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.5", "", "0.0.0.0"],
)
async def test_without_keys_other_names_of_this_machine_are_refused(
    make_app: MakeApp, host: str
) -> None:
    async with connected(make_app(api_keys=[]), key=None) as client:
        response = await client.get("/api/orphans", headers={"Host": host})

    assert response.status_code == 401
    assert "localhost" in response.json()["detail"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 202),
        ("http://127.0.0.1:8080", 202),
        ("http://[::1]", 202),
        ("https://evil.example", 401),
        ("http://localhost.evil.example", 401),
        ("null", 401),
        ("", 401),
        ("http://[", 401),
    ],
)
async def test_without_keys_foreign_pages_may_not_send(
    make_app: MakeApp, origin: str, status: int
) -> None:
    app = make_app(api_keys=[])
    async with connected(app, host="http://localhost:8080", key=None) as client:
        response = await client.post("/api/instances/ins_1/stop", headers={"Origin": origin})

    assert response.status_code == status


def has_cookie(headers: Headers) -> bool:
    """Stand in for the dashboard's check of its cookie."""
    return headers.get("cookie") == "session=good"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Cookie": "session=good", "Origin": "http://gpukeeper.example"}, 202),
        ({"Cookie": "session=good", "Origin": "http://evil.example"}, 401),
        ({"Cookie": "session=good", "Origin": "null"}, 401),
        ({"Cookie": "session=good"}, 401),
        ({"Cookie": "session=bad", "Origin": "http://gpukeeper.example"}, 401),
    ],
)
async def test_a_change_with_the_cookie_must_come_from_our_own_pages(
    make_app: MakeApp, headers: dict[str, str], status: int
) -> None:
    async with connected(make_app(is_signed_in=has_cookie), key=None) as client:
        response = await client.post("/api/instances/ins_1/stop", headers=headers)

    assert response.status_code == status


async def test_reading_with_the_cookie_needs_no_origin(make_app: MakeApp) -> None:
    async with connected(make_app(is_signed_in=has_cookie), key=None) as client:
        response = await client.get("/api/orphans", headers={"Cookie": "session=good"})

    assert response.status_code == 200


async def test_what_is_declared_public_needs_no_key(make_app: MakeApp) -> None:
    app = make_app(is_public=lambda path: path.startswith("/login"))
    async with connected(app, key=None) as client:
        assert (await client.get("/login")).status_code == 404
        assert (await client.get("/logout")).status_code == 401


async def test_no_answer_repeats_a_key(client: httpx2.AsyncClient, app: FastAPI) -> None:
    async with connected(app, key=None) as stranger:
        refused = await stranger.get("/api/orphans", headers={"Authorization": "Bearer wrong-key"})

    assert "wrong-key" not in refused.text
    for path in ("/api/orphans", "/metrics", "/docs", "/openapi.json", "/health"):
        assert KEY not in (await client.get(path)).text
