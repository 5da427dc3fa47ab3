"""Over real sockets: what was surely not sent is told from what may have arrived."""

import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import anyio.abc
import httpx2
import pytest
from pydantic import SecretStr

from gpukeeper import __version__
from gpukeeper.domain.errors import (
    BadCredentials,
    NovitaTimeout,
    NovitaUnavailable,
    OutcomeUnknown,
)
from gpukeeper.novita import protocol
from gpukeeper.novita.messages import Request, Response
from gpukeeper.novita.transport import BODY_MAX_BYTES, Transport
from tests.novita.scripted import API_KEY, PURCHASE

ASKED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CREATE = protocol.create_request(PURCHASE)
GET = protocol.machine_request("m1")

Serve = Callable[[anyio.abc.SocketStream], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """Serve each connection on loopback with the function given; yields the port."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await serve(stream)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, handle)
        yield listener.extra_attributes[anyio.abc.SocketAttribute.local_port]()
        group.cancel_scope.cancel()


def answering(raw: bytes) -> Serve:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        await stream.send(raw)

    return serve


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def transport_of(base_url: str, timeout: float = 30) -> Transport:
    return Transport(
        base_url=base_url, api_key=SecretStr(API_KEY), connect=None, timeout_seconds=timeout
    )


async def send(port: int, request: Request, scheme: str = "http", timeout: float = 30) -> Response:
    transport = transport_of(f"{scheme}://127.0.0.1:{port}", timeout)
    try:
        return await transport.send(request, asked_at=ASKED_AT)
    finally:
        await transport.aclose()


async def test_an_answer_comes_back_whole() -> None:
    async with server(answering(http(b'{"id": "m1"}', "retry-after: 7"))) as port:
        answer = await send(port, CREATE)
    assert (answer.status, answer.parsed(), answer.asked_at) == (200, {"id": "m1"}, ASKED_AT)
    assert answer.headers.get("retry-after") == "7"


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NovitaUnavailable):
            await send(taken.getsockname()[1], CREATE)


async def test_a_failed_tls_handshake_means_that_nothing_was_sent() -> None:
    async with server(answering(b"this is not TLS\r\n")) as port:
        with pytest.raises(NovitaUnavailable):
            await send(port, CREATE, scheme="https")


async def test_a_tls_handshake_that_is_hung_up_on_means_that_nothing_was_sent() -> None:
    async with server(answering(b"")) as port:
        with pytest.raises(NovitaUnavailable):
            await send(port, CREATE, scheme="https")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b'HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"id": "m',
        b"SMTP says hello\r\n\r\n",
        http(b"no gzip at all", "content-encoding: gzip"),
    ],
)
async def test_a_connection_that_breaks_after_sending_leaves_the_outcome_unknown(
    raw: bytes,
) -> None:
    async with server(answering(raw)) as port:
        with pytest.raises(OutcomeUnknown):
            await send(port, CREATE)
        with pytest.raises(NovitaUnavailable):
            await send(port, GET)


async def test_a_silent_server_runs_into_the_time_limit_of_the_whole_call() -> None:
    async def silent(request: httpx2.Request) -> httpx2.Response:
        await anyio.sleep_forever()
        raise AssertionError

    transport = Transport(
        base_url="https://novita.example",
        api_key=SecretStr(API_KEY),
        connect=lambda: httpx2.MockTransport(silent),
        timeout_seconds=0,
    )
    with pytest.raises(OutcomeUnknown, match="TimeoutError"):
        await transport.send(CREATE, asked_at=ASKED_AT)
    with pytest.raises(NovitaTimeout):
        await transport.send(GET, asked_at=ASKED_AT)


async def test_a_redirect_is_not_followed() -> None:
    raw = http(b"", "location: http://127.0.0.1:1/elsewhere", status="307 Temporary Redirect")
    async with server(answering(raw)) as port:
        assert (await send(port, CREATE)).status == 307


async def test_a_compressed_body_is_read() -> None:
    raw = http(gzip.compress(b'{"id": "m1"}'), "content-encoding: gzip")
    async with server(answering(raw)) as port:
        assert (await send(port, GET)).parsed() == {"id": "m1"}


async def test_a_body_that_is_far_too_large_is_cut_off_and_thereby_unreadable() -> None:
    huge = gzip.compress(b'{"id": "' + b"x" * 2 * BODY_MAX_BYTES + b'"}')
    async with server(answering(http(huge, "content-encoding: gzip"))) as port:
        answer = await send(port, GET)
    assert len(answer.body) == BODY_MAX_BYTES
    assert answer.parsed() is None


@pytest.mark.parametrize("key", ["", "two words", "sk_ключ", "sk_1\nx: y", "sk_1\x7f"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(BadCredentials) as caught:
        Transport(
            base_url="https://novita.example",
            api_key=SecretStr(key),
            connect=None,
            timeout_seconds=30,
        )
    assert not key or key not in str(caught.value)


async def test_nothing_is_sent_but_what_is_needed() -> None:
    heard = bytearray()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        heard.extend(await stream.receive())
        await stream.send(http(b"{}"))

    async with server(serve) as port:
        await send(port, GET)
    line, *headers = heard.decode().split("\r\n\r\n")[0].split("\r\n")
    assert line.startswith("GET ")
    assert {each.partition(": ")[0].lower(): each.partition(": ")[2] for each in headers} == {
        "host": f"127.0.0.1:{port}",
        "authorization": f"Bearer {API_KEY}",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "content-type": "application/json",
        "user-agent": f"gpukeeper/{__version__}",
    }


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_the_proxy_of_the_environment_is_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forget_proxies(monkeypatch)
    heard = bytearray()

    async def proxy(stream: anyio.abc.SocketStream) -> None:
        for _ in range(2):
            heard.extend(await stream.receive())
            await stream.send(http(b"{}", "set-cookie: a=b"))

    async with server(proxy) as port:
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        transport = transport_of("http://novita.example")
        for _ in range(2):
            assert (await transport.send(GET, asked_at=ASKED_AT)).status == 200
        await transport.aclose()
    assert heard.count(b"GET http://novita.example/") == 2
    assert b"cookie" not in heard.lower()


async def test_a_host_that_needs_no_proxy_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _forget_proxies(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with server(answering(http(b"{}"))) as port:
        assert (await send(port, GET)).status == 200


def _forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_neither_an_error_nor_a_repr_shows_the_key() -> None:
    transport = transport_of("http://127.0.0.1:1")
    with pytest.raises(NovitaUnavailable) as caught:
        await transport.send(CREATE, asked_at=ASKED_AT)
    await transport.aclose()
    chain = f"{caught.value!r} {caught.value.__cause__!r} {transport!r} {CREATE!r}"
    assert API_KEY not in chain
