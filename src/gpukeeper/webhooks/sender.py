"""Send one webhook delivery, once, and tell what came of it."""

import asyncio
import codecs
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import httpx2
from pydantic import SecretStr

from gpukeeper.domain.backoff import parse_retry_after
from gpukeeper.domain.fairness import receiver_of
from gpukeeper.http_pool import HttpPool, limit_to_one_connection
from gpukeeper.webhooks import signing
from gpukeeper.webhooks.guard import Allowance, ForbiddenAddress, Resolver, look_up, resolve
from gpukeeper.webhooks.urls import Address, unmapped

# Enough of an answer to see what a receiver complains of; nobody's data is kept by accident.
MAX_ANSWER_BYTES = 1024

# Common servers drop an idle connection after 5 s at the earliest.  Letting go first avoids
# writing into a connection that is just being closed, which would cost a delivery one retry.
_KEEP_ALIVE_SECONDS = 2.0


# A name with more addresses than this would have us knock at many doors for one delivery.
_MAX_ADDRESSES = 16

# What is sent, and the connections over which it goes.
Way = tuple[HttpPool, httpx2.Request]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of one try to deliver.

    ``status`` is the receiver's answer, ``None`` if there was none; ``error`` says in a few words
    why there was none, or why it does not count.  ``answer`` is printable text from the first
    1 kB of the body; ``retry_after`` is how long the receiver asks to be left alone.
    """

    at: datetime
    duration: timedelta
    status: int | None
    error: str | None
    answer: str
    retry_after: timedelta | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took the webhook: any 2xx."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more webhooks: 410."""
        return self.status == 410


class _NeverConnected(httpx2.NetworkError):
    """A connection was lost before anything was sent on it."""


class Sender:
    """Sign and send webhooks, each within one deadline; close it with :meth:`aclose`.

    It uses HTTP transports and no HTTP client, so there are no redirects, no proxies from the
    environment and no cookies that one receiver would set for another.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        secrets: tuple[SecretStr, ...],
        allow: Allowance,
        user_agent: str,
        clock: Callable[[], datetime],
        resolver: Resolver = look_up,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._secrets = secrets
        self._allow = allow
        self._user_agent = user_agent
        self._clock = clock
        self._resolver = resolver
        self._tls = tls or httpx2.create_ssl_context()
        # One for each of the operator's receivers.
        self._trusted: dict[str, HttpPool] = {}
        # No connection is kept: they are known by their address, and a second host name on the
        # same address would be sent over one whose certificate was checked for the first.
        self._pinned = self._pool(httpx2.Limits(max_connections=1, max_keepalive_connections=0))

    async def send(
        self,
        *,
        url: str,
        is_trusted: bool,
        webhook_id: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Receipt:
        """POST a body once and return what came of it; trouble of the network is not raised.

        ``is_trusted`` marks the operator's own URL, whose address is not vetted; a receiver that
        keeps traces finds ours by ``traceparent`` (W3C Trace Context).  The deadline
        spans look-up, connection, request and the kept part of the answer.  A status counts once
        it has come, even if the body then breaks off or outlasts the deadline: a receiver that
        said 2xx has taken the webhook.
        """
        sent_at = self._clock()
        status: int | None = None
        error: str | None = None
        retry_after: timedelta | None = None
        answer = bytearray()
        signed = signing.headers(self._secrets, webhook_id=webhook_id, sent_at=sent_at, body=body)
        if traceparent is not None:
            signed["traceparent"] = traceparent
        try:
            async with asyncio.timeout(self._timeout_seconds) as deadline:
                ways = await self._ways(url, is_trusted=is_trusted, headers=signed, body=body)
                async with _first_that_connects(ways, deadline) as response:
                    status = response.status_code
                    asked = response.headers.get("retry-after")
                    retry_after = parse_retry_after(asked, now=sent_at)
                    await _read(response, answer)
        except ForbiddenAddress as refusal:
            error = f"address not allowed: {refusal.message}"
        except TimeoutError:
            error = f"timed out after {self._timeout_seconds:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ExceptionGroup) as trouble:
            error = _sentence(trouble)
        if status is not None:
            error = "redirects are not followed" if 300 <= status < 400 else None
        return Receipt(
            at=sent_at,
            duration=self._clock() - sent_at,
            status=status,
            error=error,
            answer=_text(answer),
            retry_after=retry_after,
        )

    async def aclose(self) -> None:
        """Close every connection; may be repeated."""
        for pool in (*self._trusted.values(), self._pinned):
            await pool.aclose()

    async def _ways(
        self, url: str, *, is_trusted: bool, headers: dict[str, str], body: bytes
    ) -> list[Way]:
        """Return what to send and over which connections, for each address to be tried in turn."""
        headers = {"content-type": "application/json", "user-agent": self._user_agent} | headers
        if is_trusted:
            # The library itself tries all addresses.
            watched = {"trace": _watch(None)}
            request = httpx2.Request(
                "POST", _parsed(url), headers=headers, content=body, extensions=watched
            )
            return [(self._pool_to(receiver_of(url)), request)]
        target = await resolve(url, allow=self._allow, resolver=self._resolver)
        named = httpx2.URL(target.url)
        return [
            (
                self._pinned,
                httpx2.Request(
                    "POST",
                    named.copy_with(host=str(address)),
                    headers={"host": named.netloc.decode("ascii")} | headers,
                    content=body,
                    extensions={"sni_hostname": target.host, "trace": _watch(address)},
                ),
            )
            for address in target.addresses[:_MAX_ADDRESSES]
        ]

    def _pool_to(self, receiver: str) -> HttpPool:
        if receiver not in self._trusted:
            self._trusted[receiver] = self._pool(limit_to_one_connection(_KEEP_ALIVE_SECONDS))
        return self._trusted[receiver]

    def _pool(self, limits: httpx2.Limits) -> HttpPool:
        # No limit of connections: whoever calls decides how many deliveries go on at a time,
        # and slow receivers must not use up the turns of the others.
        return HttpPool(
            lambda: httpx2.AsyncHTTPTransport(verify=self._tls, limits=limits),
            keep_alive_seconds=_KEEP_ALIVE_SECONDS,
        )


@asynccontextmanager
async def _first_that_connects(
    ways: Sequence[Way], deadline: asyncio.Timeout
) -> AsyncIterator[httpx2.Response]:
    """Give the answer over the first way on which a connection comes about.

    Each has its part of the time that is left, so that one that is silent leaves enough for the
    others and for the answer.  Once connected, nothing is sent a second time.
    """
    ends_at = deadline.when()
    assert ends_at is not None
    clock = asyncio.get_running_loop().time
    others = deque(ways)
    while True:
        pool, request = others.popleft()
        if others:
            # This one, those after it, and the answer.
            request.extensions["timeout"] = {"connect": (ends_at - clock()) / (len(others) + 2)}
        try:
            async with pool.ask(request) as response:
                yield response
            return
        except (httpx2.ConnectError, httpx2.ConnectTimeout, _NeverConnected):
            if not others:
                raise


@lru_cache(maxsize=64)  # the operator has few
def _parsed(url: str) -> httpx2.URL:
    return httpx2.URL(url)


def _watch(vetted: Address | None) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    """Return a hook for one request, which ends a connection that may not or cannot be used.

    That is one that led elsewhere than to the vetted address, if there is one, before a byte is
    sent; and one whose handshake did not come about.
    """
    stream: Any = None

    async def watch(moment: str, details: dict[str, Any]) -> None:
        nonlocal stream
        if moment == "connection.connect_tcp.complete":
            stream = details["return_value"]
            if vetted is not None:
                await _check_peer(stream, vetted)
        elif moment == "connection.start_tls.failed":
            # The library leaves it open when the deadline ends the handshake.
            await stream.aclose()

    return watch


async def _check_peer(stream: Any, vetted: Address) -> None:
    peer = stream.get_extra_info("server_addr")
    if peer is None:
        # It was reset in the moment in which it came about.
        await stream.aclose()
        raise _NeverConnected("The connection has no other end.")
    if unmapped(ip_address(peer[0])) != vetted:
        await stream.aclose()
        raise ForbiddenAddress("the connection led to another address than the one vetted.")


async def _read(response: httpx2.Response, answer: bytearray) -> None:
    """Read the kept part of an answer; what is left unread closes the connection."""
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            answer += chunk
            if len(answer) >= MAX_ANSWER_BYTES:
                return


def _text(answer: bytearray) -> str:
    """Return printable text: nothing that moves a terminal's cursor or a log's line."""
    # Not final, so that a character cut in two is left out instead of replaced.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(bytes(answer[:MAX_ANSWER_BYTES]))
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _sentence(trouble: Exception) -> str:
    for cause in _causes(trouble):
        match cause:
            case ConnectionRefusedError():
                return "connection refused"
            case socket.gaierror():
                return "host name not found"
            case ssl.SSLCertVerificationError():
                return f"certificate not accepted: {cause.verify_message}"
            case ssl.SSLError():
                return "TLS failed"
    match trouble:
        case httpx2.ConnectError():
            return "could not connect"
        case httpx2.RemoteProtocolError():
            return "no valid HTTP answer"
        case httpx2.NetworkError():
            return "connection broken"
    return "could not be sent"


def _causes(trouble: Exception) -> list[BaseException]:
    """Return an error and all that led to it, the nearest first."""
    causes: list[BaseException] = [trouble]
    for cause in causes:  # it grows while it is walked
        if isinstance(cause, BaseExceptionGroup):
            causes.extend(cause.exceptions)
        if earlier := cause.__cause__ or cause.__context__:
            causes.append(earlier)
    return causes
