"""One delivery over a real connection: what is sent, and what comes of every answer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from gpukeeper.webhooks import signing
from gpukeeper.webhooks.sender import Receipt, Sender

NOW = datetime(2026, 11, 23, 5, 12, 25, tzinfo=UTC)
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
BODY = b'{"type": "webhook.test"}'

Serve = Callable[..., Awaitable[Any]]
MakeSender = Callable[..., Sender]


async def deliver(sender: Sender, url: str) -> Receipt:
    """Send to the operator's own URL."""
    return await sender.send(url=url, is_trusted=True, webhook_id="evt_1", body=BODY)


def http(status: int, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Because", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_a_webhook_is_posted_signed_and_complete(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(http(200, body=b"thanks"))
    times = iter([NOW, NOW + timedelta(seconds=2)])
    sender = make_sender(clock=lambda: next(times))
    receipt = await deliver(sender, f"http://127.0.0.1:{receiver.port}/hook?a=b")
    assert receipt == Receipt(NOW, timedelta(seconds=2), 200, None, "thanks")
    assert receipt.is_delivered
    assert not receipt.is_gone

    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    assert line == "POST /hook?a=b HTTP/1.1"
    assert body == BODY
    signing.verify([SECRET], headers=headers, body=body, now=NOW)
    assert {name.lower() for name in headers} == {
        *("host", "content-type", "content-length", "user-agent"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    assert headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "gpukeeper/test"
    assert headers["webhook-id"] == "evt_1"


async def test_a_webhook_names_its_place_in_a_trace(serve: Serve, make_sender: MakeSender) -> None:
    receiver = await serve(http(200))
    place = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await make_sender().send(
        url=f"http://127.0.0.1:{receiver.port}/",
        is_trusted=True,
        webhook_id="evt_1",
        body=BODY,
        traceparent=place,
    )

    assert f"\r\ntraceparent: {place}\r\n".encode() in receiver.requests[0]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(serve: Serve, make_sender: MakeSender, status: int) -> None:
    receiver = await serve(http(status))
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error, receipt.is_delivered) == (status, None, True)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422, 500, 503])
async def test_any_other_status_is_a_failure_and_410_ends_it(
    serve: Serve, make_sender: MakeSender, status: int
) -> None:
    receiver = await serve(http(status, body=b"no"))
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error, receipt.answer) == (status, None, "no")
    assert not receipt.is_delivered
    assert receipt.is_gone == (status == 410)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(
    serve: Serve, make_sender: MakeSender, status: int
) -> None:
    elsewhere = await serve()
    receiver = await serve(http(status, f"location: http://127.0.0.1:{elsewhere.port}/"))
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error) == (status, "redirects are not followed")
    assert not receipt.is_delivered
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("header", "delay"),
    [
        ("retry-after: 120", timedelta(minutes=2)),
        ("retry-after: Mon, 23 Nov 2026 05:13:25 GMT", timedelta(minutes=1)),
        ("retry-after: later", None),
        ("x-other: 120", None),
    ],
)
async def test_a_receiver_may_ask_to_be_left_alone(
    serve: Serve, make_sender: MakeSender, header: str, delay: timedelta | None
) -> None:
    receiver = await serve(http(429, header))
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert receipt.retry_after == delay


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nx: "])
async def test_an_answer_that_does_not_come_ends_at_the_deadline(
    serve: Serve, make_sender: MakeSender, beginning: bytes
) -> None:
    receiver = await serve(beginning, is_stuck=True)
    sender = make_sender(timeout_seconds=0.05)
    receipt = await deliver(sender, f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error) == (None, "timed out after 0.05 s")
    assert not receipt.is_delivered
    await receiver.is_left.wait()


@pytest.mark.parametrize(("status", "is_stuck"), [(200, True), (200, False), (500, False)])
async def test_a_status_counts_although_its_body_never_ends(
    serve: Serve, make_sender: MakeSender, status: int, is_stuck: bool
) -> None:
    answer = f"HTTP/1.0 {status} Because\r\ncontent-length: 900\r\n\r\nso far".encode()
    receiver = await serve(answer, is_stuck=is_stuck)
    sender = make_sender(timeout_seconds=1.0)
    receipt = await deliver(sender, f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error, receipt.answer) == (status, None, "so far")
    assert receipt.is_delivered == (status == 200)
    await receiver.is_left.wait()


async def test_only_the_first_kilobyte_of_an_answer_is_read(
    serve: Serve, make_sender: MakeSender
) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 5000
    receiver = await serve(endless, is_stuck=True)
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert receipt.is_delivered
    assert receipt.answer == "a" * 1024
    await receiver.is_left.wait()


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("é".encode() * 2000, "é" * 512),
        (b"a" + "é".encode() * 2000, "a" + "é" * 511),
        (b"a\r\nb\x1b[2Jc\x00\xe2\x80\xaed", "a  b [2Jc  d"),
        (b"\xff\xfe", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
async def test_an_answer_is_kept_as_printable_text(
    serve: Serve, make_sender: MakeSender, body: bytes, answer: str
) -> None:
    receiver = await serve(http(500, body=body))
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert receipt.answer == answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "no valid HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no valid HTTP answer"),
        (b"HTTP/1.1 200\r\ncontent-length: many\r\n\r\n", "no valid HTTP answer"),
    ],
)
async def test_something_other_than_http_is_a_failure(
    serve: Serve, make_sender: MakeSender, answer: bytes, error: str
) -> None:
    receiver = await serve(answer)
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error, receipt.answer) == (None, error, "")


async def test_a_connection_that_is_reset_is_a_failure(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(is_reset=True)
    receipt = await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")
    assert (receipt.status, receipt.error) == (None, "connection broken")


@pytest.mark.parametrize(
    ("address", "error"),
    [("127.0.0.1:1", "connection refused"), ("255.255.255.255", "could not connect")],
)
async def test_nobody_listening_is_a_failure(
    make_sender: MakeSender, address: str, error: str
) -> None:
    receipt = await deliver(make_sender(), f"http://{address}/")
    assert (receipt.status, receipt.error) == (None, error)


@pytest.mark.parametrize("url", ["ftp://hooks.example/", "http://[::1", "http://127.0.0.1:99999/"])
async def test_a_url_that_is_none_is_a_failure(make_sender: MakeSender, url: str) -> None:
    assert (await deliver(make_sender(), url)).error == "could not be sent"


async def test_the_operators_receiver_keeps_its_connection(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(http(200, "set-cookie: a=b", body=b"thanks"))
    sender = make_sender()
    for _ in range(3):
        assert (await deliver(sender, f"http://127.0.0.1:{receiver.port}/")).is_delivered
    assert (receiver.connections, len(receiver.requests)) == (1, 3)
    assert not any(b"cookie" in request.lower() for request in receiver.requests)


async def test_no_proxy_of_the_environment_is_used(
    serve: Serve, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    receiver = await serve()
    assert (await deliver(make_sender(), f"http://127.0.0.1:{receiver.port}/")).is_delivered


async def test_slow_receivers_leave_room_for_others(serve: Serve, make_sender: MakeSender) -> None:
    slow = await serve(b"", is_stuck=True)
    quick = await serve()
    sender = make_sender()
    async with asyncio.TaskGroup() as group:
        stuck = [
            group.create_task(deliver(sender, f"http://127.0.0.1:{slow.port}/")) for _ in range(150)
        ]
        assert (await deliver(sender, f"http://127.0.0.1:{quick.port}/")).is_delivered
        for task in stuck:
            task.cancel()
    assert all(task.cancelled() for task in stuck)
