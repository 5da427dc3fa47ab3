"""Loopback receivers, certificates and senders for the tests of webhooks."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from gpukeeper.webhooks.guard import Allowance
from gpukeeper.webhooks.sender import Sender

NOW = datetime(2026, 11, 23, 5, 12, 25, tzinfo=UTC)
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

# A strict verifier, which is the default from Python 3.13 on, wants to be told.
_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    **dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    ),
)


@dataclass(slots=True)
class Receiver:
    """A server on loopback that answers every request with the same bytes."""

    answer: bytes
    # Whether the connection is left as it is after the answer, with nothing more to come.
    is_stuck: bool = False
    # Whether a request is answered by a reset of the connection.
    is_reset: bool = False
    # What is said before anything was asked.
    greeting: bytes = b""
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    is_left: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other side leaves."""
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(self.greeting)
            while True:
                self.requests.append(await _request(reader))
                if self.is_reset:
                    _reset(writer)
                    break
                writer.write(self.answer)
                await writer.drain()
                if self.is_stuck:
                    await reader.read()
                elif not self.answer.startswith(b"HTTP/1.1 "):
                    break
        self.is_left.set()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    # Closing without lingering sends RST.
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length, head
    return head + await reader.readexactly(int(length[1]))


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Receiver]]]:
    """Give a function that starts a receiver: ``await serve(answer, host=, tls=, …)``."""
    async with AsyncExitStack() as servers:

        async def start(
            answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n",
            *,
            host: str = "127.0.0.1",
            port: int = 0,
            tls: ssl.SSLContext | None = None,
            **behaviour: Any,
        ) -> Receiver:
            receiver = Receiver(answer, **behaviour)
            server = await asyncio.start_server(receiver.converse, host, port, ssl=tls)
            servers.callback(server.close)
            receiver.port = server.sockets[0].getsockname()[1]
            return receiver

        yield start


@pytest.fixture
async def make_sender() -> AsyncIterator[Callable[..., Sender]]:
    """Give a function that makes a sender; its options are those of :class:`Sender`."""
    async with AsyncExitStack() as senders:

        def make(**options: Any) -> Sender:
            defaults: dict[str, Any] = {
                "timeout_seconds": 5.0,
                "secrets": (SECRET,),
                "allow": Allowance(),
                "user_agent": "gpukeeper/test",
                "clock": lambda: NOW,
            }
            sender = Sender(**defaults | options)
            senders.push_async_callback(sender.aclose)
            return sender

        yield make


@pytest.fixture
def certify(tmp_path: Path) -> Callable[..., tuple[ssl.SSLContext, ssl.SSLContext]]:
    """Give a function that makes a self-signed certificate for some names.

    It returns the context of a server that shows it and that of a client that trusts it.
    """

    def make(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        today = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - timedelta(days=1))
            .not_valid_after(today + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(_USAGE, True)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / f"{names[0]}.pem"
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        path.write_bytes(
            pem
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(path)
        client = ssl.create_default_context(cadata=pem.decode())
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        return server, client

    return make


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
