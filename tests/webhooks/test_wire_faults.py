"""Receivers that misbehave on the wire: each costs one connection, and bounded time and memory."""

import asyncio
import itertools
import socket
import ssl
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import pytest

from gpukeeper.webhooks.guard import Allowance
from gpukeeper.webhooks.sender import MAX_ANSWER_BYTES, Receipt
from tests.webhooks.test_pinning import Certify, MakeSender, answering

# Where the deadline is the point; the others end by themselves, long before their 5 s.
SHORT_SECONDS = 0.5
TIMED_OUT = f"timed out after {SHORT_SECONDS} s"
# A drip is this far from the next; only a receiver waits for it.
DRIP_SECONDS = 0.01
# What one attempt may take: the library's limits of a head and of a read, with room for both ends.
MAX_BYTES_OF_AN_ATTEMPT = 2_000_000

OK = b"HTTP/1.1 200 OK\r\n"
TRUSTED = pytest.mark.parametrize("is_trusted", [True, False])


@dataclass(slots=True)
class Fault:
    """How a receiver misbehaves: what it writes, once and then for ever, how fast, how it ends."""

    says: Sequence[bytes] = ()
    then: bytes = b""
    is_deaf: bool = False
    is_dripping: bool = False
    is_reset: bool = False
    is_left_open: bool = False


@dataclass(slots=True)
class Villain:
    """A server that treats every connection to the same fault."""

    fault: Fault
    port: int = 0
    connections: int = 0
    heard: bytearray = field(default_factory=bytearray)
    is_left: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear the request, unless it is deaf, and misbehave."""
        self.connections += 1
        with suppress(ConnectionError):
            if not self.fault.is_deaf:
                self.heard += await reader.read(65536)
            for said in itertools.chain(self.fault.says, self._endless()):
                writer.write(said)
                await writer.drain()
                if self.fault.is_dripping:
                    await self._pause(reader)
            if self.fault.is_left_open:
                await reader.read()
        if self.fault.is_reset:
            # Closing without lingering sends RST.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        self.is_left.set()

    def _endless(self) -> Iterator[bytes]:
        return itertools.repeat(self.fault.then) if self.fault.then else iter(())

    async def _pause(self, reader: asyncio.StreamReader) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(DRIP_SECONDS):
                if not await reader.read(65536):
                    raise ConnectionResetError


Play = Callable[..., Awaitable[Villain]]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Give a function that starts a villain: ``await play(says=…, is_reset=…, tls=…)``."""
    async with AsyncExitStack() as servers:

        async def start(*, tls: ssl.SSLContext | None = None, **fault: object) -> Villain:
            villain = Villain(Fault(**fault))  # type: ignore[arg-type] # a test's own options
            server = await asyncio.start_server(villain.converse, "127.0.0.1", 0, ssl=tls)
            servers.callback(server.close)
            villain.port = server.sockets[0].getsockname()[1]
            return villain

        yield start


@pytest.fixture
def attempt(make_sender: MakeSender) -> Callable[..., Awaitable[Receipt]]:
    """Give a function that sends once to a villain, by either way of connecting."""

    async def send(
        villain: Villain,
        *,
        is_trusted: bool,
        seconds: float = 5.0,
        scheme: str = "http",
        tls: ssl.SSLContext | None = None,
    ) -> Receipt:
        sender = make_sender(
            timeout_seconds=seconds,
            allow=Allowance.parse("127.0.0.1"),
            resolver=answering("127.0.0.1"),
            tls=tls,
        )
        host = "127.0.0.1" if is_trusted else "hooks.example"
        url = f"{scheme}://{host}:{villain.port}/"
        receipt = await sender.send(
            url=url, is_trusted=is_trusted, webhook_id="evt_1", body=b"{}" * 2000
        )
        assert villain.connections == 1
        await villain.is_left.wait()
        return receipt

    return send


Attempt = Callable[..., Awaitable[Receipt]]


@TRUSTED
@pytest.mark.parametrize(
    "fault",
    [
        Fault(is_deaf=True, is_left_open=True),
        Fault(is_left_open=True),
        Fault([OK], is_left_open=True),
        Fault([OK], b"x: y\r\n", is_dripping=True),
        Fault([OK + b"x: "], b"y", is_dripping=True),
        Fault(then=b"HTTP/1.1 100 Continue\r\n\r\n", is_dripping=True),
        Fault(then=b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500),
    ],
    ids=["deaf", "mute", "half a head", "headers", "one header", "continue", "flood of 1xx"],
)
async def test_an_answer_whose_head_never_ends_is_given_up_at_the_deadline(
    play: Play, attempt: Attempt, fault: Fault, is_trusted: bool
) -> None:
    villain = await play(**_options(fault))
    receipt = await attempt(villain, is_trusted=is_trusted, seconds=SHORT_SECONDS)
    assert (receipt.status, receipt.error, receipt.answer) == (None, TIMED_OUT, "")


@TRUSTED
async def test_a_body_that_drips_for_ever_is_left_at_the_deadline_with_its_status(
    play: Play, attempt: Attempt, is_trusted: bool
) -> None:
    villain = await play(says=[OK + b"content-length: 999999\r\n\r\n"], then=b"a", is_dripping=True)
    receipt = await attempt(villain, is_trusted=is_trusted, seconds=SHORT_SECONDS)
    assert receipt.is_delivered
    assert receipt.error is None
    assert set(receipt.answer) == {"a"}
    assert len(receipt.answer) < MAX_ANSWER_BYTES


@TRUSTED
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault([OK + b"content-length: 1000000\r\n\r\n" + b"a" * 1_000_000]), 200),
        (Fault([OK + b"transfer-encoding: chunked\r\n\r\nffff\r\n" + b"a" * 0xFFFF]), 200),
        (Fault([b"HTTP/1.1 500 No\r\n\r\n"], b"a" * 65536), 500),
    ],
    ids=["1 MB", "one large chunk", "endless"],
)
async def test_of_a_large_answer_only_the_first_kilobyte_is_kept(
    play: Play, attempt: Attempt, fault: Fault, status: int, is_trusted: bool
) -> None:
    villain = await play(**_options(fault))
    receipt = await attempt(villain, is_trusted=is_trusted)
    assert (receipt.status, receipt.error) == (status, None)
    assert receipt.answer == "a" * MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "fault",
    [
        Fault([OK + b"content-length: 9000000000\r\n\r\n"], b"a" * 65536),
        Fault([OK], b"x: " + b"y" * 1000 + b"\r\n"),
        Fault([OK + b"x: "], b"y" * 65536),
        Fault(then=b"HTTP/1.1 102 Processing\r\n\r\n" * 500),
        Fault(then=bytes(range(256)) * 256),
    ],
    ids=["body", "headers", "one header", "flood of 1xx", "noise"],
)
async def test_a_flood_is_not_held_in_memory(play: Play, attempt: Attempt, fault: Fault) -> None:
    villain = await play(**_options(fault))
    tracemalloc.start()
    try:
        await attempt(villain, is_trusted=False, seconds=SHORT_SECONDS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES_OF_AN_ATTEMPT


@TRUSTED
@pytest.mark.parametrize(
    "fault",
    [
        Fault([OK], b"x: " + b"y" * 1000 + b"\r\n"),
        Fault([OK + b"x: "], b"y" * 65536),
        Fault(then=b"a" * 1000),
        Fault([b"\x00" * 1000]),
        Fault([b"<html>502</html>\r\n\r\n"]),
        Fault([b"HTTP/1.1 999999 OK\r\n\r\n"]),
        Fault([b"HTTP/1.1 -20 OK\r\n\r\n"]),
        Fault([OK + b"content-length: -1\r\n\r\n"]),
        Fault([OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\na"]),
        Fault([OK + b"bad header\r\n\r\n"]),
        Fault([OK]),
        Fault([b"HTTP/1.1 100 Continue\r\n\r\n"]),
    ],
    ids=[
        *("huge headers", "huge header", "letters", "zeroes", "html", "long status"),
        *("signed status", "negative length", "two lengths", "no colon", "cut head", "only 100"),
    ],
)
async def test_what_is_no_http_answer_is_a_failure_that_says_so(
    play: Play, attempt: Attempt, fault: Fault, is_trusted: bool
) -> None:
    villain = await play(**_options(fault))
    receipt = await attempt(villain, is_trusted=is_trusted)
    assert (receipt.status, receipt.error, receipt.answer) == (None, "no valid HTTP answer", "")


@TRUSTED
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_where_a_redirect_points_is_never_contacted(
    play: Play, attempt: Attempt, status: int, is_trusted: bool
) -> None:
    trap = await play()
    says = (
        f"HTTP/1.1 {status} Elsewhere\r\nlocation: http://127.0.0.1:{trap.port}/\r\n"
        f"refresh: 0; url=http://127.0.0.1:{trap.port}/\r\ncontent-length: 0\r\n\r\n"
    )
    receipt = await attempt(await play(says=[says.encode()]), is_trusted=is_trusted)
    assert (receipt.status, receipt.error) == (status, "redirects are not followed")
    assert not receipt.is_delivered
    assert trap.connections == 0


@TRUSTED
@pytest.mark.parametrize(
    ("says", "status", "answer"),
    [
        ([OK + b"content-length: 900\r\n\r\nso far"], 200, "so far"),
        ([OK + b"content-length: 2\r\n\r\nokand more"], 200, "ok"),
        ([OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"], 200, "ok"),
        ([OK + b"transfer-encoding: chunked\r\n\r\n2\r\nok"], 200, "ok"),
        ([b"HTTP/1.1 410 Gone\r\ncontent-length: 50\r\n\r\ngone"], 410, "gone"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + OK + b"content-length: 0\r\n\r\n"], 200, ""),
        ([b"HTTP/0.9 200 OK\r\n\r\n"], 200, ""),
        ([OK + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"], 200, "abc"),
    ],
    ids=[
        "too short",
        "too long",
        "bad chunk",
        "cut chunk",
        "cut 410",
        "some 1xx",
        "http/0.9",
        "not gzip",
    ],
)
async def test_a_status_counts_whatever_is_wrong_with_the_body(
    play: Play, attempt: Attempt, says: Sequence[bytes], status: int, answer: str, is_trusted: bool
) -> None:
    villain = await play(says=says)
    receipt = await attempt(villain, is_trusted=is_trusted)
    assert (receipt.status, receipt.error, receipt.answer) == (status, None, answer)
    assert receipt.is_delivered == (status == 200)
    assert receipt.is_gone == (status == 410)


@TRUSTED
@pytest.mark.parametrize(
    "fault",
    [
        Fault(is_deaf=True, is_reset=True),
        Fault(is_reset=True),
        Fault([b"HTTP/1.1 20"], is_reset=True),
        Fault([OK + b"x: y\r\n"], is_reset=True),
    ],
    ids=["at once", "after the request", "in the first line", "in the headers"],
)
async def test_a_connection_that_is_reset_before_a_status_is_a_failure(
    play: Play, attempt: Attempt, fault: Fault, is_trusted: bool
) -> None:
    villain = await play(**_options(fault))
    receipt = await attempt(villain, is_trusted=is_trusted)
    assert (receipt.status, receipt.error) == (None, "connection broken")


@TRUSTED
@pytest.mark.parametrize("body", [b"", b"ok", b"o"])
async def test_a_connection_that_is_reset_after_a_status_is_none(
    play: Play, attempt: Attempt, body: bytes, is_trusted: bool
) -> None:
    villain = await play(says=[OK + b"content-length: 2\r\n\r\n" + body], is_reset=True)
    receipt = await attempt(villain, is_trusted=is_trusted)
    assert (receipt.status, receipt.error) == (200, None)


@TRUSTED
@pytest.mark.parametrize(
    "says",
    [
        [b"HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\n\r\n"],
        [b"\x15\x03\x01\x00\x02\x02\x28"],
        [b"\x16\x03\x03\xff\xff" + b"\x00" * 70_000],
        [],
    ],
    ids=["plain HTTP", "alert", "noise", "nothing"],
)
async def test_a_receiver_that_does_not_speak_tls_is_a_failure_of_tls(
    play: Play, attempt: Attempt, says: Sequence[bytes], is_trusted: bool
) -> None:
    villain = await play(says=says)
    receipt = await attempt(villain, is_trusted=is_trusted, scheme="https")
    assert (receipt.status, receipt.error) == (None, "TLS failed")
    # The webhook itself was not among what it heard.
    assert b"webhook" not in villain.heard


@TRUSTED
async def test_a_handshake_that_hangs_is_given_up_at_the_deadline(
    play: Play, attempt: Attempt, is_trusted: bool
) -> None:
    villain = await play(is_left_open=True)
    receipt = await attempt(villain, is_trusted=is_trusted, scheme="https", seconds=SHORT_SECONDS)
    assert (receipt.status, receipt.error) == (None, TIMED_OUT)


@pytest.mark.parametrize("names", [("127.0.0.1", "hooks.example"), ("other.example",)])
async def test_the_operators_own_receiver_has_to_prove_who_it_is_too(
    play: Play, make_sender: MakeSender, certify: Certify, names: tuple[str, ...]
) -> None:
    server, client = certify(*names)
    villain = await play(says=[OK + b"content-length: 0\r\n\r\n"], tls=server)
    url = f"https://127.0.0.1:{villain.port}/"
    for tls, is_proved in ((client, "127.0.0.1" in names), (None, False)):
        sender = make_sender(tls=tls)
        receipt = await sender.send(url=url, is_trusted=True, webhook_id="evt_1", body=b"{}")
        assert receipt.is_delivered == is_proved
        if not is_proved:
            assert (receipt.error or "").startswith("certificate not accepted: ")


async def test_a_webhook_for_plain_http_does_not_reach_a_tls_port(
    serve: Callable[..., Awaitable[Villain]], make_sender: MakeSender, certify: Certify
) -> None:
    server, _ = certify("127.0.0.1")
    receiver = await serve(tls=server)
    sender = make_sender()
    receipt = await sender.send(
        url=f"http://127.0.0.1:{receiver.port}/", is_trusted=True, webhook_id="evt_1", body=b"{}"
    )
    assert receipt.status is None
    assert receipt.error in ("no valid HTTP answer", "connection broken")


def _options(fault: Fault) -> dict[str, object]:
    return {name: getattr(fault, name) for name in Fault.__slots__}
