"""Without keys, only this machine is let in, and no web page that is open on it."""

from collections.abc import Callable

import httpx2
import pytest
from fastapi import FastAPI

from tests.api.conftest import connected
from tests.api.double import ServiceDouble
from tests.api.samples import RUNNING

MakeApp = Callable[..., FastAPI]

JSON = {"Content-Type": "application/json"}

OWN_ORIGIN = "http://localhost:8080"

EMPTY_CHANGES = [
    ("POST", "/api/instances/ins_1/stop"),
    ("DELETE", "/api/instances/ins_1"),
    ("POST", "/api/webhooks/test"),
]


async def ask(
    make_app: MakeApp, method: str, path: str, headers: dict[str, str]
) -> httpx2.Response:
    """Ask an application without keys."""
    async with connected(make_app(api_keys=[]), host=OWN_ORIGIN, key=None) as client:
        return await client.request(method, path, headers=headers)


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
async def test_this_machine_is_served(make_app: MakeApp, host: str) -> None:
    assert (await ask(make_app, "GET", "/api/orphans", {"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.5", ""),
        *(
            "0.0.0.0",
            "evil.example@localhost",
            "evil.example:1@127.0.0.1",
            "localhost#.evil.example",
        ),
        *("localhost/.evil.example", "localhost?.evil.example", "localhost\\.evil.example", "[::1"),
        *("localhost:80:80", "localhost:evil", "[::1]evil.example", "localhost ", "127.1", "[::2]"),
    ],
)
async def test_other_names_of_this_machine_are_refused(make_app: MakeApp, host: str) -> None:
    response = await ask(make_app, "GET", "/api/orphans", {"Host": host})

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
        ("http://evil.example@localhost", 401),
        ("http://localhost#.evil.example", 401),
        ("null", 401),
        ("", 401),
        ("http://[", 401),
    ],
)
async def test_foreign_pages_may_not_send(make_app: MakeApp, origin: str, status: int) -> None:
    response = await ask(make_app, "POST", "/api/instances/ins_1/stop", {"Origin": origin} | JSON)

    assert response.status_code == status


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/instances"),
        ("POST", "/api/instances/ins_1/stop"),
        ("DELETE", "/api/instances/ins_1"),
        ("POST", "/api/webhooks/test"),
        ("POST", "/api/deliveries/dlv_1/redeliver"),
    ],
)
@pytest.mark.parametrize(
    ("browser", "status", "code"),
    [
        ({"Origin": "http://localhost:3000"}, 401, "unauthorized"),
        ({"Sec-Fetch-Site": "none"}, 401, "unauthorized"),
        ({"Sec-Fetch-Site": "same-site", "Origin": OWN_ORIGIN}, 401, "unauthorized"),
        ({}, 415, "unsupported_media_type"),
    ],
)
async def test_what_a_form_can_send_changes_nothing(
    make_app: MakeApp,
    service: ServiceDouble,
    method: str,
    path: str,
    content_type: str,
    browser: dict[str, str],
    status: int,
    code: str,
) -> None:
    response = await ask(make_app, method, path, {"Content-Type": content_type} | browser)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "application/json" in response.json()["detail"]
    assert service.rows == {RUNNING.id: RUNNING}


@pytest.mark.parametrize("browser", [{"Origin": "http://[::1]:9"}, {"Sec-Fetch-Site": "same-site"}])
@pytest.mark.parametrize(("method", "path"), EMPTY_CHANGES)
async def test_a_page_cannot_leave_the_content_type_out(
    make_app: MakeApp, service: ServiceDouble, method: str, path: str, browser: dict[str, str]
) -> None:
    response = await ask(make_app, method, path, browser)

    assert response.status_code == 401
    assert service.rows == {RUNNING.id: RUNNING}


@pytest.mark.parametrize(("method", "path"), EMPTY_CHANGES)
async def test_a_program_needs_no_content_type_for_an_empty_body(
    make_app: MakeApp, method: str, path: str
) -> None:
    assert (await ask(make_app, method, path, {})).status_code == 202


async def test_a_body_without_a_content_type_changes_nothing(
    make_app: MakeApp, service: ServiceDouble
) -> None:
    path = "/api/instances/ins_1/stop"
    async with connected(make_app(api_keys=[]), host=OWN_ORIGIN, key=None) as client:
        response = await client.request("POST", path, content=b"{}")

    assert response.status_code == 415
    assert service.rows == {RUNNING.id: RUNNING}


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_a_change_with_an_empty_body_may_say_that_it_is_json(
    make_app: MakeApp, content_type: str
) -> None:
    path = "/api/instances/ins_1/stop"

    response = await ask(make_app, "POST", path, {"Content-Type": content_type})

    assert response.status_code == 202


async def test_a_form_of_our_own_page_is_no_cross_site_post(make_app: MakeApp) -> None:
    path = "/api/instances/ins_1/stop"

    assert (await ask(make_app, "POST", path, {"Origin": OWN_ORIGIN})).status_code == 202
    headers = {"Origin": OWN_ORIGIN, "Sec-Fetch-Site": "same-site"}
    assert (await ask(make_app, "POST", path, headers)).status_code == 401


@pytest.mark.parametrize(
    ("method", "fetch", "status"),
    [
        ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 401),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 401),
        ("DELETE", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 401),
    ],
)
async def test_what_the_browser_says_of_a_page_is_believed(
    make_app: MakeApp, method: str, fetch: dict[str, str], status: int
) -> None:
    response = await ask(make_app, method, "/api/instances/ins_1", fetch | JSON)

    assert response.status_code == status


async def test_a_browser_is_not_sent_to_a_login_that_there_is_not(make_app: MakeApp) -> None:
    refused = await ask(make_app, "GET", "/", {"Accept": "text/html", "Host": "evil.example"})

    assert refused.status_code == 401
    for method in ("GET", "POST"):
        response = await ask(make_app, method, "/login", {})
        assert (response.status_code, response.headers["location"]) == (303, "/")
