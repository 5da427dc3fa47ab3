"""A caller's webhook over a real connection: it reaches the vetted address and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, ip_address
from socket import gaierror
from ssl import SSLContext
from typing import Any

import anyio
import pytest

from gpukeeper.webhooks.guard import Allowance, Resolver
from gpukeeper.webhooks.sender import Receipt, Sender

Serve = Callable[..., Awaitable[Any]]
MakeSender = Callable[..., Sender]
Certify = Callable[..., tuple[SSLContext, SSLContext]]

LOOPBACK = Allowance.parse("127.0.0.0/8")
HERE = ip_address("127.0.0.1")


async def deliver(sender: Sender, url: str) -> Receipt:
    """Send to a URL that a caller gave."""
    return await sender.send(url=url, is_trusted=False, webhook_id="evt_1", body=b"{}")


def answering(*addresses: str) -> Resolver:
    """Return a resolver that gives these addresses, one per look-up, and then the last."""
    left = [ip_address(address) for address in addresses]

    async def resolver(host: str, port: int) -> list[Any]:
        return [left.pop(0) if len(left) > 1 else left[0]]

    return resolver


def failing(error: BaseException) -> Resolver:
    async def resolver(host: str, port: int) -> list[IPv4Address]:
        raise error

    return resolver


async def test_a_caller_does_not_reach_this_machine(serve: Serve, make_sender: MakeSender) -> None:
    receiver = await serve()
    sender = make_sender(resolver=answering("127.0.0.1"))
    for host in ("127.0.0.1", "0x7f.1", "[::ffff:127.0.0.1]", "hooks.example"):
        receipt = await deliver(sender, f"http://{host}:{receiver.port}/")
        assert receipt.status is None
        assert (receipt.error or "").startswith("address not allowed: ")
    assert receiver.connections == 0


async def test_an_allowed_receiver_sees_its_own_name_and_path(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve()
    sender = make_sender(allow=LOOPBACK, resolver=answering("127.0.0.1"))
    receipt = await deliver(sender, f"http://Hooks.Example:{receiver.port}/a/b?c=%20&d#e")
    assert receipt.is_delivered
    head = receiver.requests[0].decode().split("\r\n")
    assert head[0] == "POST /a/b?c=%20&d HTTP/1.1"
    assert f"host: hooks.example:{receiver.port}" in head


async def test_a_name_that_is_rebound_between_two_sends_reaches_nothing(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.0.2")
    inner = await serve(host="127.0.0.1", port=receiver.port)
    sender = make_sender(
        allow=Allowance.parse("127.0.0.2"), resolver=answering("127.0.0.2", "127.0.0.1")
    )
    url = f"http://hooks.example:{receiver.port}/"
    assert (await deliver(sender, url)).is_delivered
    assert "address not allowed" in ((await deliver(sender, url)).error or "")
    assert (receiver.connections, inner.connections) == (1, 0)


async def test_a_name_is_looked_up_once_and_the_connection_goes_there(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.0.2")
    inner = await serve(host="127.0.0.1", port=receiver.port)
    asked: list[tuple[str, int]] = []

    async def rebinding(host: str, port: int) -> list[Any]:
        asked.append((host, port))
        return [ip_address("127.0.0.2" if len(asked) == 1 else "127.0.0.1")]

    sender = make_sender(allow=LOOPBACK, resolver=rebinding)
    assert (await deliver(sender, f"http://localhost.example:{receiver.port}/")).is_delivered
    assert asked == [("localhost.example", receiver.port)]
    assert (receiver.connections, inner.connections) == (1, 0)


async def test_a_connection_that_leads_elsewhere_is_ended_before_a_byte_is_sent(
    serve: Serve, make_sender: MakeSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = await serve(host="127.0.0.2")
    trap = await serve(host="127.0.0.1", port=receiver.port)
    connect = anyio.connect_tcp

    async def mislead(remote_host: str, **options: Any) -> Any:
        assert remote_host == "127.0.0.2"
        return await connect("127.0.0.1", **options)

    sender = make_sender(allow=Allowance.parse("127.0.0.2"), resolver=answering("127.0.0.2"))
    url = f"http://hooks.example:{receiver.port}/"
    assert (await deliver(sender, url)).is_delivered
    monkeypatch.setattr(anyio, "connect_tcp", mislead)
    receipt = await deliver(sender, url)
    assert receipt.status is None
    assert "led to another address" in (receipt.error or "")
    await trap.is_left.wait()
    assert (len(receiver.requests), trap.requests) == (1, [])


async def test_two_names_at_one_address_do_not_share_what_one_certificate_proved(
    serve: Serve, make_sender: MakeSender, certify: Certify
) -> None:
    server, client = certify("first.example")
    receiver = await serve(tls=server)
    sender = make_sender(allow=LOOPBACK, resolver=answering("127.0.0.1"), tls=client)
    first, second = (f"https://{name}.example:{receiver.port}/" for name in ("first", "second"))
    receipts = [await deliver(sender, url) for url in (first, second, first, second)]
    assert [receipt.status for receipt in receipts] == [204, None, 204, None]
    for receipt in receipts[1::2]:
        assert (receipt.error or "").startswith("certificate not accepted: ")
    hosts = [request.partition(b"host: ")[2].partition(b":")[0] for request in receiver.requests]
    assert hosts == [b"first.example", b"first.example"]


async def test_a_redirect_to_a_forbidden_address_is_not_followed(
    serve: Serve, make_sender: MakeSender
) -> None:
    inner = await serve(host="127.0.0.1")
    location = f"location: http://127.0.0.1:{inner.port}/".encode()
    receiver = await serve(
        b"HTTP/1.1 307 Elsewhere\r\ncontent-length: 0\r\n" + location + b"\r\n\r\n",
        host="127.0.0.2",
    )
    sender = make_sender(allow=Allowance.parse("127.0.0.2"))
    receipt = await deliver(sender, f"http://127.0.0.2:{receiver.port}/")
    assert (receipt.status, receipt.error) == (307, "redirects are not followed")
    assert inner.connections == 0


async def test_a_connection_is_not_shared(serve: Serve, make_sender: MakeSender) -> None:
    receiver = await serve()
    sender = make_sender(allow=LOOPBACK, resolver=answering("127.0.0.1"))
    for host in ("a.example", "b.example", "a.example"):
        await deliver(sender, f"http://{host}:{receiver.port}/")
    assert receiver.connections == 3


async def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    serve: Serve, make_sender: MakeSender, certify: Certify
) -> None:
    server, client = certify("right.example")
    receiver = await serve(tls=server)
    sender = make_sender(allow=LOOPBACK, resolver=answering("127.0.0.1"), tls=client)
    assert (await deliver(sender, f"https://right.example:{receiver.port}/")).is_delivered
    for host in ("wrong.example", "127.0.0.1"):
        receipt = await deliver(sender, f"https://{host}:{receiver.port}/")
        assert receipt.status is None
        assert (receipt.error or "").startswith("certificate not accepted: ")
        assert host in (receipt.error or "")
    assert (await deliver(sender, f"https://right.example:{receiver.port}/")).is_delivered
    assert len(receiver.requests) == 2


async def test_a_certificate_for_an_address_is_accepted_there(
    serve: Serve, make_sender: MakeSender, certify: Certify
) -> None:
    server, client = certify("127.0.0.1")
    receiver = await serve(tls=server)
    sender = make_sender(allow=LOOPBACK, tls=client)
    assert (await deliver(sender, f"https://127.0.0.1:{receiver.port}/")).is_delivered


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted(
    serve: Serve, make_sender: MakeSender, certify: Certify
) -> None:
    server, _ = certify("right.example")
    receiver = await serve(tls=server)
    sender = make_sender(allow=LOOPBACK, resolver=answering("127.0.0.1"))
    receipt = await deliver(sender, f"https://right.example:{receiver.port}/")
    assert (receipt.error or "").startswith("certificate not accepted: self")
    assert receiver.requests == []


async def test_a_receiver_without_tls_is_a_failure_of_tls(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(greeting=b"220 mail.example\r\n")
    sender = make_sender(allow=LOOPBACK)
    receipt = await deliver(sender, f"https://127.0.0.1:{receiver.port}/")
    assert receipt.error == "TLS failed"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (gaierror(-2, "Name or service not known"), "host name not found"),
        (OSError("no name server"), "could not be sent"),
    ],
)
async def test_a_look_up_that_fails_is_told(
    make_sender: MakeSender, error: OSError, sentence: str
) -> None:
    receipt = await deliver(make_sender(resolver=failing(error)), "http://hooks.example/")
    assert (receipt.status, receipt.error) == (None, sentence)


async def test_a_refusal_is_found_among_several_causes(make_sender: MakeSender) -> None:
    error = OSError("no connection")
    error.__cause__ = ExceptionGroup("attempts", [TimeoutError(), ConnectionRefusedError()])
    receipt = await deliver(make_sender(resolver=failing(error)), "http://hooks.example/")
    assert receipt.error == "connection refused"


async def test_a_look_up_that_hangs_ends_at_the_deadline(make_sender: MakeSender) -> None:
    async def hanging(host: str, port: int) -> list[Any]:
        await asyncio.Event().wait()
        return []

    receipt = await deliver(
        make_sender(resolver=hanging, timeout_seconds=0.05), "http://hooks.example/"
    )
    assert receipt.error == "timed out after 0.05 s"
