"""Whoever guesses keys is slowed down, and nobody else."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from gpukeeper.web.server.proxies import Proxies
from gpukeeper.web.throttle import Throttle
from tests.api.conftest import KEY, Lines, connected
from tests.api.test_api_login import ORIGIN, Clock, sign_in

LIMIT = 10

MakeApp = Callable[..., FastAPI]


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the application."""
    return Clock()


@pytest.fixture
def app(make_app: MakeApp, clock: Clock) -> FastAPI:
    """Return an application whose clock stands still, behind the proxies of one network."""
    return make_app(clock=clock, proxies=Proxies([ip_network("10.0.0.0/8")]))


def at(app: FastAPI, address: str) -> httpx2.AsyncClient:
    """Return a client of another address."""
    transport = httpx2.ASGITransport(app=app, client=(address, 40000))
    return httpx2.AsyncClient(transport=transport, base_url="http://gpukeeper.example")


async def ask(client: httpx2.AsyncClient, key: str, **headers: str) -> httpx2.Response:
    """Ask with a key."""
    given = {"Authorization": f"Bearer {key}", **headers}
    return await client.get("/api/orphans", headers=given)


async def guess(client: httpx2.AsyncClient, times: int, **headers: str) -> list[int]:
    """Make so many different guesses, and return the statuses of the answers."""
    return [(await ask(client, f"wrong-{n}", **headers)).status_code for n in range(times)]


async def test_after_ten_wrong_keys_others_are_refused_for_a_minute(
    app: FastAPI, clock: Clock
) -> None:
    async with connected(app, key=None) as client:
        assert await guess(client, LIMIT) == [401] * LIMIT
        clock.now += timedelta(seconds=20)
        refused = await ask(client, "one-more")
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_wrong_keys"
        assert refused.headers["retry-after"] == "40"
        clock.now += timedelta(seconds=40)
        assert (await ask(client, "one-more")).status_code == 401


async def test_a_right_key_passes_whoever_guesses_from_the_same_address(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        await guess(client, LIMIT)
        assert (await ask(client, KEY)).status_code == 200
        assert (await sign_in(client)).status_code == 303
        assert (await ask(client, "wrong-still")).status_code == 429


async def test_a_wrong_key_that_is_repeated_slows_down_nothing_but_itself(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        statuses = [(await ask(client, "old-key")).status_code for _ in range(LIMIT + 5)]

        assert statuses == [401] * LIMIT + [429] * 5
        assert (await ask(client, KEY)).status_code == 200


async def test_others_are_not_slowed_down(app: FastAPI) -> None:
    async with at(app, "198.51.100.7") as guesser, at(app, "198.51.100.8") as other:
        await guess(guesser, LIMIT)
        assert (await ask(guesser, "wrong")).status_code == 429
        assert (await ask(other, "wrong")).status_code == 401


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 429),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", 401),
        ("::ffff:198.51.100.7", "198.51.100.7", 429),
        ("", "testserver", 429),
    ],
)
async def test_a_whole_network_of_version_6_is_one_guesser(
    app: FastAPI, first: str, second: str, status: int
) -> None:
    async with at(app, first) as guesser, at(app, second) as other:
        await guess(guesser, LIMIT)
        assert (await ask(other, "wrong")).status_code == status


@pytest.mark.parametrize(
    "guesser",
    [
        [("X-Forwarded-For", "203.0.113.9")],
        [("X-Forwarded-For", "made-up, 203.0.113.10, 203.0.113.9")],
        [("X-Forwarded-For", "203.0.113.10"), ("X-Forwarded-For", "203.0.113.9")],
        # Behind two proxies of ours.
        [("X-Forwarded-For", "203.0.113.10, 203.0.113.9"), ("X-Forwarded-For", "10.0.0.1")],
        [("X-Forwarded-For", "203.0.113.10:4711, 203.0.113.9:1234")],
        [("Forwarded", "for=203.0.113.10, for=203.0.113.9;proto=https")],
    ],
)
async def test_whoever_guesses_through_a_proxy_slows_down_only_himself(
    app: FastAPI, guesser: list[tuple[str, str]]
) -> None:
    async with at(app, "10.0.0.2") as proxy:
        for n in range(LIMIT):
            await proxy.get(
                "/api/orphans", headers=[("Authorization", f"Bearer wrong-{n}"), *guesser]
            )
        bad = await proxy.get("/api/orphans", headers=[("Authorization", "Bearer x"), *guesser])
        assert bad.status_code == 429
        assert (await ask(proxy, "x", **{"X-Forwarded-For": "203.0.113.10:99"})).status_code == 401
        assert (await ask(proxy, "x")).status_code == 401


@pytest.mark.parametrize(
    ("peer", "suffix"), [("198.51.100.7", ""), ("192.168.0.7", ""), ("10.0.0.2", ", 203.0.113.9")]
)
@pytest.mark.parametrize(
    ("header", "hop"), [("X-Forwarded-For", "1.2.3.{}"), ("Forwarded", "for=1.2.3.{}")]
)
async def test_made_up_addresses_do_not_help_to_guess(
    app: FastAPI, peer: str, suffix: str, header: str, hop: str
) -> None:
    end = suffix.replace(", ", ", for=") if header == "Forwarded" else suffix
    async with at(app, peer) as client:
        statuses = [
            (await ask(client, f"wrong-{n}", **{header: hop.format(n) + end})).status_code
            for n in range(LIMIT + 1)
        ]
    assert statuses == [401] * LIMIT + [429]


async def test_wrong_keys_in_the_name_of_another_do_not_slow_the_other_down(app: FastAPI) -> None:
    async with at(app, "192.168.0.7") as liar, at(app, "203.0.113.9") as other:
        await guess(liar, LIMIT, **{"X-Forwarded-For": "203.0.113.9"})
        assert (await ask(other, "wrong")).status_code == 401


async def test_the_login_page_says_how_long_to_wait(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        await guess(client, LIMIT)
        page = await sign_in(client, key="wrong")
        problem = await client.post("/login", json={"key": "wrong"}, headers=ORIGIN)

    assert (page.status_code, page.headers["retry-after"]) == (429, "60")
    assert "wait a minute" in page.text
    assert (problem.status_code, problem.headers["retry-after"]) == (429, "60")
    assert "set-cookie" not in page.headers


async def test_a_session_goes_on_while_somebody_guesses(app: FastAPI) -> None:
    async with connected(app, key=None) as client:
        await sign_in(client)
        await guess(client, LIMIT)
        assert (await client.get("/api/orphans")).status_code == 200


async def test_wrong_keys_are_logged_by_address_and_never_shown(app: FastAPI, log: Lines) -> None:
    async with at(app, "10.0.0.7") as client:
        await ask(client, "hunter22", **{"X-Forwarded-For": "203.0.113.9"})

    lines: list[dict[str, Any]] = [line for line in log() if line["event"] == "wrong_key"]
    assert [(line["client"], line["level"], line["path"]) for line in lines] == [
        ("203.0.113.9", "warning", "/api/orphans")
    ]
    assert "hunter22" not in str(log())


def test_the_memory_of_guesses_has_an_end() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    throttle = Throttle(limit=1, clock=lambda: now, max_sources=3)

    for number in range(1000):
        throttle.count(f"source-{number}", b"guess")

    waiting = [n for n in range(1000) if throttle.wait(f"source-{n}", b"other")]
    assert waiting == [997, 998, 999]
