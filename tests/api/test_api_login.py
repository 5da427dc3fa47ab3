"""Signing in at the dashboard, and out again."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.api.conftest import KEY, Lines, connected

HOST = "http://gpukeeper.example"
ORIGIN = {"Origin": HOST}
OTHER_KEY = "another-key-of-16-and-more"

MakeApp = Callable[..., FastAPI]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 5, 12, 25, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the application."""
    return Clock()


@pytest.fixture
def app(make_app: MakeApp, clock: Clock) -> FastAPI:
    """Return an application whose clock stands still."""
    return make_app(clock=clock)


@pytest.fixture
def browser(app: FastAPI) -> Any:
    """Return a browser at the service, without a key; it keeps cookies."""
    return connected(app, key=None)


async def sign_in(client: httpx2.AsyncClient, key: str = KEY, **fields: str) -> httpx2.Response:
    """Send the form of the login page."""
    return await client.post("/login", data={"key": key, **fields}, headers=ORIGIN)


async def test_whoever_shows_the_key_is_let_in_from_then_on(browser: Any) -> None:
    async with browser as client:
        signed_in = await sign_in(client)
        read = await client.get("/api/orphans")
        changed = await client.post("/api/instances/ins_1/stop", headers=ORIGIN)

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    assert (read.status_code, changed.status_code) == (200, 202)


async def test_the_cookie_is_kept_from_scripts_and_foreign_pages(browser: Any) -> None:
    async with browser as client:
        cookie = (await sign_in(client)).headers["set-cookie"]

    name, *attributes = cookie.lower().split("; ")
    assert name.startswith("gpukeeper_session=")
    assert set(attributes) == {"httponly", "samesite=strict", "path=/", "max-age=43200"}
    assert KEY not in cookie


@pytest.mark.parametrize(
    ("host", "origin", "is_secure"),
    [
        ("https://gpukeeper.example", "https://gpukeeper.example", True),
        # A proxy speaks https for us: the browser knows.
        ("http://gpukeeper.example", "https://gpukeeper.example", True),
        ("http://gpukeeper.example", "http://gpukeeper.example", False),
    ],
)
async def test_the_cookie_stays_encrypted_where_it_came_encrypted(
    app: FastAPI, host: str, origin: str, is_secure: bool
) -> None:
    async with connected(app, host=host, key=None) as client:
        headers = {"Origin": origin, "X-Forwarded-Proto": "https"}
        response = await client.post("/login", data={"key": KEY}, headers=headers)

    assert ("secure" in response.headers["set-cookie"].lower().split("; ")) is is_secure


async def test_a_session_ends_after_twelve_hours(browser: Any, clock: Clock) -> None:
    async with browser as client:
        cookie = (await sign_in(client)).cookies["gpukeeper_session"]
        headers = {"Cookie": f"gpukeeper_session={cookie}"}
        clock.now += timedelta(hours=12, seconds=-1)
        assert (await client.get("/api/orphans", headers=headers)).status_code == 200
        clock.now += timedelta(seconds=1)
        assert (await client.get("/api/orphans", headers=headers)).status_code == 401


async def test_a_key_that_is_taken_away_ends_its_sessions(make_app: MakeApp) -> None:
    async with connected(make_app(api_keys=[KEY, OTHER_KEY]), key=None) as client:
        await sign_in(client)
        cookies = dict(client.cookies)
    for keys, status in (([KEY], 200), ([OTHER_KEY, KEY], 200), ([OTHER_KEY], 401)):
        async with connected(make_app(api_keys=keys), key=None) as client:
            client.cookies.update(cookies)
            assert (await client.get("/api/orphans")).status_code == status


@pytest.mark.parametrize(
    "forge",
    [
        lambda value: value[:-1] + ("A" if value[-1] != "A" else "B"),
        lambda value: "9" + value,
        lambda value: value.partition(".")[0] + ".",
        lambda value: "",
        lambda value: "9999999999." + value.partition(".")[2],
        lambda value: value + "é",
    ],
)
async def test_a_forged_cookie_lets_nobody_in(
    browser: Any, forge: Callable[[str], str], app: FastAPI
) -> None:
    async with browser as client:
        value = (await sign_in(client)).cookies["gpukeeper_session"]
    async with connected(app, key=None) as stranger:
        cookie = b"gpukeeper_session=" + forge(value).encode()
        response = await stranger.get("/api/orphans", headers=[(b"cookie", cookie)])

    assert response.status_code == 401


async def test_signing_out_takes_the_cookie_back(browser: Any) -> None:
    async with browser as client:
        await sign_in(client)
        response = await client.post("/logout", headers=ORIGIN)
        assert (response.status_code, response.headers["location"]) == (303, "/login")
        assert (await client.get("/api/orphans")).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": HOST}, 202),
        ({"Origin": HOST, "Sec-Fetch-Site": "same-origin"}, 202),
        # A proxy changed the Host header; the browser still knows better.
        ({"Origin": "https://outside.example", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": HOST, "Sec-Fetch-Site": "same-site"}, 401),
        ({"Origin": HOST, "Sec-Fetch-Site": "cross-site"}, 401),
        ({"Origin": "http://evil.example"}, 401),
        ({"Origin": "http://gpukeeper.example:81"}, 401),
        ({"Origin": "null"}, 401),
        ({"Origin": "http://["}, 401),
        ({}, 401),
    ],
)
async def test_a_change_with_the_cookie_must_come_from_our_own_pages(
    browser: Any, headers: dict[str, str], status: int
) -> None:
    async with browser as client:
        await sign_in(client)
        response = await client.post("/api/instances/ins_1/stop", headers=headers)

    assert response.status_code == status


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
async def test_no_foreign_page_signs_anybody_in_or_out(
    browser: Any, path: str, headers: dict[str, str]
) -> None:
    async with browser as client:
        response = await client.post(path, data={"key": KEY}, headers=headers)

    assert response.status_code == 401
    assert "set-cookie" not in response.headers


async def test_a_program_may_send_the_key_as_json(browser: Any) -> None:
    async with browser as client:
        wrong = await client.post("/login", json={"key": "wrong"})
        right = await client.post("/login", json={"key": KEY, "next": "/docs"})

    assert wrong.json()["code"] == "unauthorized"
    assert (right.status_code, right.headers["location"]) == (303, "/docs")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"key": 1}', 400),
        ("application/json", b'["key"]', 400),
        ("application/x-www-form-urlencoded", b"", 400),
        ("application/x-www-form-urlencoded", b"key=", 400),
        ("application/x-www-form-urlencoded", b"key=%ff", 400),
        ("application/x-www-form-urlencoded", b"\xff", 400),
        ("application/x-www-form-urlencoded", b"a=1&" * 11, 400),
        ("application/x-www-form-urlencoded", b"key=" + b"x" * 1024 * 1024, 413),
        ("text/plain", b"key=x", 415),
    ],
)
async def test_what_is_no_login_is_refused(
    browser: Any, content_type: str, body: bytes, status: int
) -> None:
    async with browser as client:
        headers = {"Content-Type": content_type}
        response = await client.post("/login", content=body, headers=headers)

    assert response.status_code == status


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("/ui/instances?status=running", "/ui/instances?status=running"),
        ("/docs#x", "/docs#x"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("ui", "/"),
        ("/login?next=/", "/"),
    ],
)
async def test_a_login_leads_to_our_own_pages_only(browser: Any, asked: str, place: str) -> None:
    async with browser as client:
        page = await client.get("/login", params={"next": asked})
        signed_in = await sign_in(client, next=asked)
        again = await client.get("/login", params={"next": asked})

    assert re.findall("name='next' value='([^']*)'", page.text) == [place]
    assert signed_in.headers["location"] == again.headers["location"] == place


async def test_the_login_page_can_be_used_by_everybody_and_runs_nothing(browser: Any) -> None:
    async with browser as client:
        page = await client.get("/login", params={"next": "/'><script>alert(1)</script>"})

    assert page.status_code == 200
    assert "<label for='key'>" in page.text
    assert "<html lang='en'>" in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    # Otherwise browsers would not say where the form comes from.
    assert page.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "/login?next=/"),
        ("/ui/instances/ins_1", "/login?next=/ui/instances/ins_1"),
        ("/ui?a=b&c=d%20e", "/login?next=/ui%3Fa%3Db%26c%3Dd%2520e"),
        ("/docs", "/login?next=/docs"),
    ],
)
async def test_a_browser_is_shown_where_to_sign_in_and_comes_back(
    browser: Any, path: str, place: str
) -> None:
    async with browser as client:
        response = await client.get(path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (response.status_code, response.headers["location"]) == (303, place)
        await sign_in(client)
        back = await client.get(response.headers["location"])

    assert back.headers["location"] == path


@pytest.mark.parametrize(
    ("referer", "place"),
    [
        (f"{HOST}/ui/instances/ins_1?a=b", "/login?next=/ui/instances/ins_1%3Fa%3Db"),
        ("http://evil.example/ui", "/login?next=/"),
        ("http://[", "/login?next=/"),
        (None, "/login?next=/"),
    ],
)
async def test_a_form_that_is_sent_after_the_session_leads_to_the_login_and_back_to_its_page(
    browser: Any, clock: Clock, referer: str | None, place: str
) -> None:
    headers = ORIGIN | {"Accept": "text/html"} | ({"Referer": referer} if referer else {})
    async with browser as client:
        await sign_in(client)
        clock.now += timedelta(hours=13)
        response = await client.post("/ui/instances/ins_1/stop", headers=headers)

    assert (response.status_code, response.headers["location"]) == (303, place)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {"Accept": "*/*"}),
        ("/api/instances", {"Accept": "text/html"}),
        ("/docs", {"Accept": "text/html", "Authorization": "Bearer wrong"}),
    ],
)
async def test_a_program_is_told_that_a_key_is_needed(
    browser: Any, path: str, headers: dict[str, str]
) -> None:
    async with browser as client:
        assert (await client.get(path, headers=headers)).json()["code"] == "unauthorized"


async def test_a_wrong_key_at_the_login_is_told_on_the_page_and_logged(
    browser: Any, log: Lines
) -> None:
    async with browser as client:
        response = await sign_in(client, key="hunter22-hunter22", next="/docs")

    assert response.status_code == 401
    assert "role='alert'" in response.text
    assert "value='/docs'" in response.text
    assert "hunter22" not in response.text
    assert "set-cookie" not in response.headers
    assert [line["client"] for line in log() if line["event"] == "wrong_key"] == ["127.0.0.1"]
    assert "hunter22" not in str(log())
