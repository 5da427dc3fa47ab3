"""Carry one question to Novita over HTTP and bring back its answer, or say what went wrong."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from functools import lru_cache
from urllib.request import getproxies

import httpx2
from pydantic import SecretStr

from gpukeeper import __version__
from gpukeeper.domain.errors import (
    BadCredentials,
    NovitaError,
    NovitaTimeout,
    NovitaUnavailable,
    OutcomeUnknown,
)
from gpukeeper.http_pool import HttpPool, limit_to_one_connection
from gpukeeper.novita.messages import Request, Response

# A full page of machines has some 100 kB; far more is no answer of Novita's.
BODY_MAX_BYTES = 8 * 1024 * 1024

# Failures before the first byte of the request left: no connection was made, or none was free.
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


# What the library allows and keeps by default.
_CONNECTIONS = 100
_KEEP_ALIVE_SECONDS = 5.0


class Transport:
    """The HTTP connections to Novita with its key.

    ``timeout_seconds`` limits one call as a whole, a third of it the making of the connection.
    ``connect`` makes what carries the requests of one connection and is closed here; without it,
    that is the network, through the proxy that the environment names, if any.  Raises
    BadCredentials for a key that cannot be sent.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        connect: Callable[[], httpx2.AsyncBaseTransport] | None,
        timeout_seconds: float,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = _headers(api_key)
        self._timeout_seconds = timeout_seconds
        self._pool = HttpPool(
            connect or _network(),
            keep_alive_seconds=_KEEP_ALIVE_SECONDS,
            limit=_CONNECTIONS,
            patience_seconds=timeout_seconds / 3,
        )
        # The other phases have no limit but that of the whole call.
        self._extensions = {"timeout": {"connect": timeout_seconds / 3}}

    async def send(self, request: Request, *, asked_at: datetime) -> Response:
        """Send one request, once, and return the answer whatever its status.

        Raises NovitaTimeout or NovitaUnavailable when a read failed or a change was surely not
        sent, and OutcomeUnknown when a change may have arrived.  Redirects are not followed.
        """
        question = httpx2.Request(
            request.method,
            _url(self._base_url + request.path, tuple(request.query.items())),
            json=request.body,
            headers=self._headers,
            extensions=self._extensions,
        )
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._pool.ask(question) as response,
            ):
                body = await _read_body(response)
                return Response(response.status_code, response.headers, body, asked_at)
        except _NEVER_SENT as error:
            raise _failure(request, error, was_sent=False) from error
        except (httpx2.HTTPError, OSError) as error:
            raise _failure(request, error, was_sent=True) from error

    async def aclose(self) -> None:
        """Close the connections; may be repeated."""
        await self._pool.aclose()


class _Proxied(httpx2.AsyncBaseTransport):
    """A connection through whatever proxy the environment names for a URL.

    Only a client of the library knows which that is.  It does much that is not wanted here and
    costs time, so that it is used where there may be a proxy only.
    """

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._client.send(request, stream=True, auth=None, follow_redirects=False)

    async def aclose(self) -> None:
        await self._client.aclose()


def _network() -> Callable[[], httpx2.AsyncBaseTransport]:
    """Return what makes one connection to the network."""
    tls = httpx2.create_ssl_context()  # once: it reads all of the system's certificates
    limits = limit_to_one_connection(_KEEP_ALIVE_SECONDS)
    if getproxies().keys() & {"http", "https", "all"}:
        return lambda: _Proxied(httpx2.AsyncClient(verify=tls, limits=limits))
    return lambda: httpx2.AsyncHTTPTransport(verify=tls, limits=limits)


@lru_cache(maxsize=256)  # the pages of a listing are asked for again and again
def _url(url: str, query: tuple[tuple[str, str], ...]) -> httpx2.URL:
    return httpx2.URL(url, params=query)


def _headers(api_key: SecretStr) -> dict[str, str]:
    key = api_key.get_secret_value()
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        # Checked here because the HTTP library would show the key in its error.
        raise BadCredentials("NOVITA_API_KEY is empty or has characters that no key has.")
    return {
        "authorization": f"Bearer {key}",
        "accept": "application/json",
        # A page of machines is mostly repetition.
        "accept-encoding": "gzip",
        # Documented as required even where there is no body (§2).
        "content-type": "application/json",
        "user-agent": f"gpukeeper/{__version__}",
    }


async def _read_body(response: httpx2.Response) -> bytes:
    """Return the body, cut off where it is too large: what is left of it cannot be read."""
    body = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > BODY_MAX_BYTES:
                break
    return bytes(body[:BODY_MAX_BYTES])


def _failure(request: Request, error: Exception, *, was_sent: bool) -> NovitaError:
    is_timeout = isinstance(error, httpx2.TimeoutException | TimeoutError)
    kind: type[NovitaError] = NovitaTimeout if is_timeout else NovitaUnavailable
    if was_sent and request.is_change:
        kind = OutcomeUnknown
    opening = (kind.__doc__ or "").rstrip(".")
    cause = f"{type(error).__name__}: {error}".rstrip(": ")
    return kind(f"{opening} ({request.route}, {cause})")
