"""Strangers hold what nobody else needs: connections without a key make room for all others."""

import asyncio
import resource
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi import FastAPI

from gpukeeper.web.server.connection_limits import ConnectionLimits
from gpukeeper.web.server.proxies import Proxies
from gpukeeper.web.server.root_path import RootPath
from tests.api.conftest import KEY, Lines
from tests.api.test_api_connection_limits import (
    AGES,
    ASK,
    BLINK,
    PATIENT,
    SEND,
    Listening,
    Peer,
    listening,
    ours,
    problem_in,
    waiting,
)

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LOGIN = (
    b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 60\r\n\r\nk"
)
MANY = 505
NONE = timedelta()


def at(**changes: Any) -> ConnectionLimits:
    """Return limits that no time passes, with changes."""
    patient = {"head": AGES, "body": AGES, "write": AGES, "strange": AGES, "burst": NONE}
    return ConnectionLimits(**{**patient, **changes})


@pytest.fixture(autouse=True)
def open_files() -> None:
    """Let this process hold both ends of many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))


async def flood(server: Listening, text: bytes, times: int) -> list[Peer]:
    """Connect so often, each time saying the same and no more."""
    peers = []
    for _ in range(times):
        peers.append(await server.connect())
        await peers[-1].say(text)
    return peers


async def status(server: Listening, text: bytes) -> int:
    """Ask over a new connection and return the status of the answer."""
    peer = await server.connect()
    await peer.say(text)
    return (await peer.answer())[0]


@pytest.mark.parametrize("burst", [NONE, AGES], ids=["one after the other", "at once"])
@pytest.mark.parametrize(
    "half",
    [
        *(LOGIN, LOGIN[:40], b"", SEND.replace(KEY.encode(), b"wrong"), HEALTH, HEALTH[:-2]),
        LOGIN.replace(b"Content-Length: 60", b"Transfer-Encoding: chunked"),
    ],
    ids=["half a login", "half a head", "nothing", "no key", "idle", "half of health", "chunked"],
)
async def test_hundreds_of_strangers_cost_nobody_else_an_answer(
    app: FastAPI, half: bytes, burst: timedelta
) -> None:
    async with listening(app, at(burst=burst)) as server:
        known = await server.connect()
        await known.say(ASK + b"\r\n")
        await known.answer()
        await known.say(ASK)
        await flood(server, half, MANY)

        assert await status(server, HEALTH) == 200
        assert await status(server, HEALTH.replace(b"live", b"ready")) == 200
        assert await status(server, ASK + b"\r\n") == 200


async def test_a_stranger_keeps_out_neither_streams_nor_bodies_of_those_with_a_key(
    app: FastAPI,
) -> None:
    begun, finish = asyncio.Semaphore(0), asyncio.Event()
    app.add_api_route("/wait", waiting(begun, finish))
    async with listening(app, at(connections=10, share=5)) as server:
        stream, sender = await server.connect(), await server.connect()
        await stream.say(ASK.replace(b"/api/orphans", b"/wait") + b"\r\n")
        await begun.acquire()
        await sender.say(SEND + b"{")
        assert await status(server, ASK + b"\r\n") == 200
        await flood(server, LOGIN, 30)

        finish.set()
        assert await stream.answer() == (200, b"done")
        await sender.say(b" " * 98 + b"}")
        assert (await sender.answer())[0] == 400


async def test_one_address_holds_no_more_connections_without_a_key_than_its_share(
    app: FastAPI, log: Lines
) -> None:
    async with listening(app, at(share=5)) as server:
        peers = await flood(server, LOGIN, 30)
        assert await status(server, HEALTH) == 200
        closed = [peer for peer in peers[:25] if await peer.rest() == b""]
        assert len(closed) == 25
    evicted = [line["client"] for line in ours(log) if line["event"] == "connection_evicted"]
    assert set(evicted) == {"127.0.0.1"}
    assert len(evicted) == 26


async def test_a_program_may_connect_more_often_than_its_share_at_once(app: FastAPI) -> None:
    async with listening(app, at(share=5, burst=AGES)) as server:
        peers = [await server.connect() for _ in range(30)]
        for peer in peers:
            await peer.say(ASK + b"\r\n")
        assert [(await peer.answer())[0] for peer in peers] == [200] * 30


async def test_those_with_a_key_are_in_nobodys_share(app: FastAPI) -> None:
    async with listening(app, at(share=5)) as server:
        peers = []
        for _ in range(30):
            peers.append(await server.connect())
            await peers[-1].say(ASK + b"\r\n")
            assert (await peers[-1].answer())[0] == 200
        await peers[0].say(ASK + b"\r\n")
        assert (await peers[0].answer())[0] == 200


async def test_a_key_that_was_shown_before_does_not_count_for_the_next_request(
    app: FastAPI,
) -> None:
    async with listening(app, at(share=1)) as server:
        peer = await server.connect()
        await peer.say(ASK + b"\r\n")
        await peer.answer()
        await peer.say(LOGIN)
        # Now it is a stranger's, and a second one of the same address takes its place.
        while not peer.reader.at_eof():
            await status(server, HEALTH)
        assert await peer.rest() == b""


async def test_when_all_are_busy_there_is_room_left_for_health(app: FastAPI) -> None:
    begun, finish = asyncio.Semaphore(0), asyncio.Event()
    app.add_api_route("/wait", waiting(begun, finish))
    async with listening(app, at(connections=2, spare=2)) as server:
        busy = await flood(server, ASK.replace(b"/api/orphans", b"/wait") + b"\r\n", 2)
        await begun.acquire()
        await begun.acquire()
        for _ in range(10):
            assert await status(server, HEALTH) == 200
        refused = await server.connect()
        await refused.say(ASK + b"\r\n")
        assert problem_in(await refused.rest())["code"] == "too_many_connections"
        # Strangers who say nothing do not hold what is left.
        await flood(server, b"", 10)
        assert await status(server, HEALTH) == 200
        finish.set()
        assert [await peer.answer() for peer in busy] == [(200, b"done")] * 2


async def test_the_room_for_health_is_there_below_the_root_path_too(app: FastAPI) -> None:
    begun, finish = asyncio.Semaphore(0), asyncio.Event()
    app.add_api_route("/wait", waiting(begun, finish))
    below = RootPath(app, root_path="/gpu")
    async with listening(below, at(connections=1), root_path="/gpu") as server:
        (busy,) = await flood(server, ASK.replace(b"/api/orphans", b"/gpu/wait") + b"\r\n", 1)
        await begun.acquire()
        for path in (b"/gpu/health/live?a=b", b"/health/live"):
            assert await status(server, HEALTH.replace(b"/health/live", path)) == 200
        finish.set()
        assert await busy.answer() == (200, b"done")


@pytest.mark.parametrize("text", [LOGIN, SEND.replace(KEY.encode(), b"wrong")])
async def test_a_body_without_a_key_is_waited_for_a_short_time_only(
    app: FastAPI, text: bytes
) -> None:
    async with listening(app, ConnectionLimits(head=AGES, body=AGES, strange=BLINK)) as server:
        with_key, without = await server.connect(), await server.connect()
        await with_key.say(SEND + b"{")
        await without.say(text)

        said = await without.rest()
        assert b" 408 " in said or b" 401 " in said
        await with_key.say(b" " * 98 + b"}")
        assert (await with_key.answer())[0] == 400


async def test_a_stranger_who_does_not_read_is_given_up_sooner() -> None:
    gone = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.ensure_future(receive())
        while not leaving.done() or leaving.result()["type"] != "http.disconnect":
            leaving = asyncio.ensure_future(receive()) if leaving.done() else leaving
            piece = {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}
            await send(piece)
            await asyncio.sleep(0)
        gone.set()

    async with listening(endless, ConnectionLimits(strange=BLINK, write=AGES)) as server:
        peer = await server.connect()
        await peer.say(HEALTH)
        await gone.wait()


async def test_thousands_of_requests_in_one_read_are_not_taken_in(app: FastAPI, log: Lines) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        await peer.say((ASK + b"\r\n") * 3000)
        answered = (await peer.rest()).count(b"HTTP/1.1 200")
    assert answered <= 101
    assert "connection_refused" in {line["event"] for line in ours(log)}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.1\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: evil.example@localhost\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: localhost#.evil.example\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: localhost/.evil.example\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /health/live HTTP/1.0\r\nHost: a/b\r\n\r\n",
        ASK + b"X-N: 1\r\n" * 300 + b"\r\n",
    ],
)
async def test_a_head_that_names_no_host_or_several_is_refused(app: FastAPI, head: bytes) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        await peer.say(head)
        assert problem_in(await peer.rest())["status"] in {400, 431}


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: gpu_keeper.internal:80\r\n\r\n",
    ],
)
async def test_a_head_with_one_host_or_an_old_one_with_none_is_answered(
    app: FastAPI, head: bytes
) -> None:
    async with listening(app, PATIENT) as server:
        assert await status(server, head) == 200


async def test_what_follows_a_body_does_not_pass_for_a_header(app: FastAPI) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        chunked = SEND.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
        bare = chunked.replace(f"Authorization: Bearer {KEY}\r\n".encode(), b"")
        await peer.say(bare + f"0\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        assert (await peer.answer())[0] == 401
        await peer.say(chunked + b"0\r\n" + b"X: " + b"a" * 60_000 + b"\r\n" * 1)
        await peer.say(b"Y: " + b"a" * 60_000 + b"\r\n\r\n")
        assert b" 431 " in await peer.rest()


async def test_behind_a_proxy_each_client_has_a_share_of_its_own(app: FastAPI) -> None:
    ours_only = Proxies([ip_network("127.0.0.0/8")])
    async with listening(app, at(share=3), proxies=ours_only) as server:

        async def half(client: str) -> Peer:
            named = f"\r\nX-Forwarded-For: {client}\r\nContent-Type".encode()
            (peer,) = await flood(server, LOGIN.replace(b"\r\nContent-Type", named), 1)
            return peer

        quiet = await half("203.0.113.8")
        greedy = [await half(f"203.0.113.9:{port}") for port in range(1000, 1010)]
        # The proxy's own connections are in nobody's share.
        idle = await flood(server, HEALTH, 10)
        assert [(await peer.answer())[0] for peer in idle] == [200] * 10
        for peer in greedy[:7]:
            assert await peer.rest() == b""
        await idle[0].say(HEALTH)
        assert (await idle[0].answer())[0] == 200
        await quiet.say(b"ey=" + KEY.encode() + b"&next=/" + b"a" * 28)
        assert b" 303 " in await quiet.reader.readuntil(b"\r\n\r\n")
