"""What a connection may ask of the real server, and for how long."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gpukeeper.web.server.connection_limits import ConnectionLimits, build_protocol
from gpukeeper.web.server.proxies import Proxies
from tests.api.conftest import KEY, Lines

BLINK = timedelta(milliseconds=50)
AGES = timedelta(hours=1)
PATIENT = ConnectionLimits(head=AGES, body=AGES, write=AGES, strange=AGES)

ASK = f"GET /api/orphans HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
SEND = (
    f"POST /api/instances HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
).encode()


@dataclass
class Peer:
    """A client that says what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, text: bytes) -> None:
        """Send."""
        self.writer.write(text)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Return what is said until the server hangs up."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def answer(self) -> tuple[int, bytes]:
        """Return the status and the body of an answer with a length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)


@dataclass
class Listening:
    """A server that listens, and whoever has connected to it."""

    port: int
    peers: list[Peer] = field(default_factory=list)

    async def connect(self) -> Peer:
        """Connect."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer


@asynccontextmanager
async def listening(
    app: Any,
    limits: ConnectionLimits,
    *,
    idle_seconds: int = 3600,
    proxies: Proxies = Proxies(),  # noqa: B008 - a value that nobody changes
    root_path: str = "",
) -> AsyncIterator[Listening]:
    """Serve an application as the process does."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        lifespan="off",
        http=build_protocol(limits, proxies=proxies, root_path=root_path),
        ws="none",
        timeout_keep_alive=idle_seconds,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    # Whoever connects before the server is up waits in the socket's queue.
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    found = Listening(listener.getsockname()[1])
    try:
        async with asyncio.timeout(20):
            yield found
    finally:
        for peer in found.peers:
            peer.writer.close()
        server.should_exit = True
        await task


def ours(log: Lines) -> list[dict[str, Any]]:
    """Return the messages that are not the server's about itself."""
    return [line for line in log() if line["logger"] != "uvicorn.error"]


def problem_in(raw: bytes) -> dict[str, Any]:
    """Return the problem that an answer holds, which is one with safe headers."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    assert b"connection: close" in head
    problem: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem


@pytest.mark.parametrize(
    "head",
    [
        ASK + b"X: " + b"a" * 1024 * 1024 + b"\r\n\r\n",
        ASK + b"X: " + b"a" * 1024 * 1024,
        ASK + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(1000)) + b"\r\n",
        b"GET /" + b"a" * 1024 * 1024 + b" HTTP/1.1\r\n\r\n",
        ASK + b"X: " + b"a" * 64 * 1024 + b"\r\n\r\n",
    ],
    ids=["one header", "a header without an end", "many headers", "a long path", "one too much"],
)
async def test_a_megabyte_of_headers_is_not_taken(app: FastAPI, log: Lines, head: bytes) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        peer.writer.write(head)
        answer = await peer.rest()

    # Whoever is still sending may miss the answer.
    assert answer == b"" or problem_in(answer)["code"] == "headers_too_large"
    assert [line["code"] for line in ours(log)] == ["headers_too_large"]


async def test_headers_within_the_limit_are_taken(app: FastAPI) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        await peer.say(ASK + b"X: " + b"a" * 63 * 1024 + b"\r\n\r\n")

        assert (await peer.answer())[0] == 200


async def test_what_is_no_http_is_told_so(app: FastAPI) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        await peer.say(b"\x16\x03\x01 hello\r\n\r\n")

        assert problem_in(await peer.rest())["code"] == "invalid_request"


async def test_half_a_head_is_not_waited_for(app: FastAPI, log: Lines) -> None:
    async with listening(app, ConnectionLimits(head=BLINK)) as server:
        peer = await server.connect()
        await peer.say(ASK)

        assert problem_in(await peer.rest())["code"] == "request_too_slow"
    assert [(line["event"], line["client"]) for line in ours(log)] == [
        ("connection_refused", "127.0.0.1")
    ]


@pytest.mark.parametrize(("begun", "drop"), [(ASK, b"a"), (b"", b"\r\n")])
async def test_a_head_that_comes_in_drips_is_not_waited_for(
    app: FastAPI, log: Lines, begun: bytes, drop: bytes
) -> None:
    async with listening(app, ConnectionLimits(head=BLINK)) as server:
        peer = await server.connect()
        await peer.say(ASK + b"\r\n")
        await peer.answer()
        await peer.say(begun)
        await dripping(peer, drop)
    codes = [line["code"] for line in ours(log) if line["event"] == "connection_refused"]
    assert codes == ["request_too_slow"]


async def test_a_connection_that_says_nothing_is_closed_without_a_word(
    app: FastAPI, log: Lines
) -> None:
    async with listening(app, ConnectionLimits(head=BLINK)) as server:
        peer = await server.connect()

        assert await peer.rest() == b""
    assert ours(log) == []


async def test_a_body_that_stops_is_not_waited_for(app: FastAPI, log: Lines) -> None:
    async with listening(app, ConnectionLimits(head=AGES, body=BLINK)) as server:
        peer = await server.connect()
        await peer.say(SEND)

        assert problem_in(await peer.rest())["code"] == "request_too_slow"
    # The route that was reading has ended as if the caller had hung up.
    found = [line.get("status", line.get("code")) for line in ours(log)]
    assert found == ["request_too_slow", 499]


async def test_a_body_that_comes_in_drips_is_not_waited_for(app: FastAPI, log: Lines) -> None:
    async with listening(app, ConnectionLimits(head=AGES, body=BLINK)) as server:
        peer = await server.connect()
        await peer.say(SEND.replace(b"100\r\n", b"100000\r\n"))
        await dripping(peer, b" ")
    found = [line.get("status", line.get("code")) for line in ours(log)]
    assert found == ["request_too_slow", 499]


async def test_the_rest_of_a_body_that_nobody_reads_is_not_waited_for(app: FastAPI) -> None:
    async with listening(app, ConnectionLimits(head=BLINK, body=AGES)) as server:
        peer = await server.connect()
        await peer.say(SEND.replace(KEY.encode(), b"wrong"))
        assert (await peer.answer())[0] == 401

        assert await dripping(peer, b" ") == b""


async def test_an_idle_connection_is_kept_for_a_while_only(app: FastAPI) -> None:
    async with listening(app, PATIENT, idle_seconds=0) as server:
        peer = await server.connect()
        await peer.say(ASK + b"\r\n")
        assert (await peer.answer())[0] == 200

        assert await peer.rest() == b""


async def test_one_connection_serves_many_requests_each_with_its_own_time(app: FastAPI) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        for _ in range(50):
            await peer.say(ASK)
            await peer.say(b"\r\n")
            assert (await peer.answer())[0] == 200


async def test_requests_that_are_sent_ahead_are_answered_in_turn(app: FastAPI) -> None:
    async with listening(app, PATIENT) as server:
        peer = await server.connect()
        await peer.say((ASK + b"\r\n") * 20)

        assert [(await peer.answer())[0] for _ in range(20)] == [200] * 20


async def test_a_reader_that_does_not_read_is_given_up(app: FastAPI) -> None:
    gone = asyncio.Event()

    async def endless(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 100_000
                    await asyncio.sleep(0)
            finally:
                gone.set()

        return StreamingResponse(pieces())

    app.add_api_route("/endless", endless)
    async with listening(app, ConnectionLimits(write=BLINK)) as server:
        peer = await server.connect()
        await peer.say(ASK.replace(b"/api/orphans", b"/endless") + b"\r\n")
        await gone.wait()


async def test_a_stream_may_last_as_long_as_it_is_read(app: FastAPI) -> None:
    say = asyncio.Queue[bytes]()

    async def stream(request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield await say.get()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    app.add_api_route("/stream", stream)
    limits = ConnectionLimits(head=AGES, body=BLINK, write=BLINK)
    async with listening(app, limits, idle_seconds=0) as server:
        peer, slow = await server.connect(), await server.connect()
        await peer.say(ASK.replace(b"/api/orphans", b"/stream") + b"\r\n")
        head = await peer.reader.readuntil(b"\r\n\r\n")
        assert b"cache-control: no-store" in head
        # Whoever is slow after the stream began is given up, the stream is not.
        await slow.say(SEND)
        assert problem_in(await slow.rest())["code"] == "request_too_slow"
        say.put_nowait(b"data: still here\n\n")
        assert b"still here" in await peer.reader.readuntil(b"\n\n")


async def test_a_new_connection_takes_the_place_of_the_one_that_has_idled_longest(
    app: FastAPI,
) -> None:
    limits = ConnectionLimits(head=AGES, connections=3)
    async with listening(app, limits) as server:
        idle = [await server.connect() for _ in range(3)]
        for peer in idle:
            await peer.say(ASK + b"\r\n")
            await peer.answer()
        await idle[0].say(ASK + b"\r\n")
        await idle[0].answer()

        new = await server.connect()
        await new.say(ASK + b"\r\n")
        assert (await new.answer())[0] == 200
        assert await idle[1].rest() == b""
        for peer in (idle[0], idle[2]):
            await peer.say(ASK + b"\r\n")
            assert (await peer.answer())[0] == 200


async def test_when_all_connections_are_busy_a_new_one_is_told_so(app: FastAPI, log: Lines) -> None:
    begun, finish = asyncio.Semaphore(0), asyncio.Event()
    app.add_api_route("/wait", waiting(begun, finish))
    async with listening(app, ConnectionLimits(connections=2)) as server:
        busy = [await server.connect() for _ in range(2)]
        for peer in busy:
            await peer.say(ASK.replace(b"/api/orphans", b"/wait") + b"\r\n")
            await begun.acquire()
        refused = await server.connect()
        await refused.say(ASK + b"\r\n")
        assert problem_in(await refused.rest())["code"] == "too_many_connections"
        finish.set()
        assert [await peer.answer() for peer in busy] == [(200, b"done")] * 2


def waiting(begun: asyncio.Semaphore, finish: asyncio.Event) -> Any:
    """Return a route that says that it has begun, and waits."""

    async def wait(request: Request) -> Response:
        begun.release()
        await finish.wait()
        return Response("done")

    return wait


async def test_a_client_that_would_rather_speak_something_else_is_answered(
    app: FastAPI, log: Lines
) -> None:
    async with listening(app, PATIENT) as server:
        for protocol in (b"websocket", b"h2c"):
            peer = await server.connect()
            await peer.say(ASK + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
            assert (await peer.answer())[0] == 200
    assert {line["event"] for line in ours(log)} == {"request"}


async def dripping(peer: Peer, drop: bytes) -> bytes:
    """Send drop after drop until the server hangs up, and return what it says."""
    said = asyncio.create_task(peer.rest())
    while not said.done():
        peer.writer.write(drop)
        await asyncio.wait([said], timeout=BLINK.total_seconds() / 10)
    return said.result()
