"""A receiver with several addresses is reached as long as one of them answers."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any

import pytest

from gpukeeper.webhooks.guard import Allowance, Resolver
from gpukeeper.webhooks.sender import Receipt, Sender

Serve = Callable[..., Awaitable[Any]]
MakeSender = Callable[..., Sender]
Certify = Callable[..., tuple[SSLContext, SSLContext]]

LOOPBACK = Allowance.parse("127.0.0.0/8")


def having(*addresses: str) -> Resolver:
    """Return a resolver for which each name has all of these addresses."""

    async def resolver(host: str, port: int) -> list[Any]:
        return [ip_address(address) for address in addresses]

    return resolver


async def deliver(sender: Sender, url: str) -> Receipt:
    """Send to a URL that a caller gave."""
    return await sender.send(url=url, is_trusted=False, webhook_id="evt_1", body=b"{}")


@contextmanager
def silent(host: str, port: int) -> Iterator[None]:
    """Let connections to a place neither come about nor fail: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind((host, port))
        listener.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex((host, port))
        yield


async def test_when_the_first_address_refuses_the_next_is_tried(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.0.3")
    sender = make_sender(allow=LOOPBACK, resolver=having("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    receipt = await deliver(sender, f"http://hooks.example:{receiver.port}/")
    assert receipt.is_delivered
    assert f"host: hooks.example:{receiver.port}" in receiver.requests[0].decode().lower()


@pytest.mark.parametrize("dead", [1, 3])
async def test_a_silent_address_leaves_time_for_the_next(
    serve: Serve, make_sender: MakeSender, dead: int
) -> None:
    receiver = await serve(host="127.0.0.9")
    addresses = [f"127.0.0.{n}" for n in range(1, dead + 1)]
    sender = make_sender(
        allow=LOOPBACK, resolver=having(*addresses, "127.0.0.9"), timeout_seconds=1.0
    )
    with silent("127.0.0.1", receiver.port), silent("127.0.0.2", receiver.port):
        receipt = await deliver(sender, f"http://hooks.example:{receiver.port}/")
    assert receipt.is_delivered


async def test_when_no_address_answers_the_deadline_holds(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.0.9")
    sender = make_sender(
        allow=LOOPBACK, resolver=having("127.0.0.1", "127.0.0.2"), timeout_seconds=0.3
    )
    with silent("127.0.0.1", receiver.port), silent("127.0.0.2", receiver.port):
        async with asyncio.timeout(5):
            receipt = await deliver(sender, f"http://hooks.example:{receiver.port}/")
    assert (receipt.status, receipt.error) == (None, "timed out after 0.3 s")


async def test_what_was_sent_once_is_not_sent_to_the_next_address(
    serve: Serve, make_sender: MakeSender
) -> None:
    broken = await serve(host="127.0.0.1", is_reset=True)
    other = await serve(host="127.0.0.2", port=broken.port)
    sender = make_sender(allow=LOOPBACK, resolver=having("127.0.0.1", "127.0.0.2"))
    receipt = await deliver(sender, f"http://hooks.example:{broken.port}/")
    assert receipt.status is None
    assert (len(broken.requests), other.connections) == (1, 0)


async def test_when_tls_fails_at_the_first_address_the_next_is_tried_with_the_same_name(
    serve: Serve, make_sender: MakeSender, certify: Certify
) -> None:
    server, client = certify("hooks.example")
    receiver = await serve(host="127.0.0.2", tls=server)
    plain = await serve(host="127.0.0.1", port=receiver.port, greeting=b"220 mail\r\n")
    sender = make_sender(allow=LOOPBACK, resolver=having("127.0.0.1", "127.0.0.2"), tls=client)
    assert (await deliver(sender, f"https://hooks.example:{receiver.port}/")).is_delivered
    assert plain.requests == []
    receipt = await deliver(sender, f"https://other.example:{receiver.port}/")
    assert (receipt.error or "").startswith("certificate not accepted: ")


async def test_one_forbidden_address_forbids_all_of_them(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.0.1")
    allow = Allowance.parse("127.0.0.1")
    for addresses in (("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")):
        sender = make_sender(allow=allow, resolver=having(*addresses))
        receipt = await deliver(sender, f"http://hooks.example:{receiver.port}/")
        assert (receipt.error or "").startswith("address not allowed: ")
    assert receiver.connections == 0


async def test_a_name_with_hundreds_of_addresses_is_not_knocked_at_all_of_them(
    serve: Serve, make_sender: MakeSender
) -> None:
    receiver = await serve(host="127.0.1.17")
    many = having(*(f"127.0.1.{n}" for n in range(1, 250)))
    receipt = await deliver(
        make_sender(allow=LOOPBACK, resolver=many), f"http://hooks.example:{receiver.port}/"
    )
    assert (receipt.error, receiver.connections) == ("connection refused", 0)
