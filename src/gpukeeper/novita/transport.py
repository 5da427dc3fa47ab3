"""Carry one question to Novita over HTTP and bring back its answer, or say what went wrong."""

import asyncio
from contextlib import aclosing
from datetime import datetime

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
from gpukeeper.novita.exchange import Answer, Request

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


# What the library allows by default.
_CONNECTIONS = 100


class Transport:
    """The HTTP connection to Novita with its key.

    ``timeout_seconds`` limits one call as a whole, a third of it the making of the connection.
    A client given as ``http`` stays its owner's to close.  Raises BadCredentials for a key that
    cannot be sent.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: SecretStr,
        http: httpx2.AsyncClient | None,
        timeout_seconds: float,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = _headers(api_key)
        self._owns_http = http is None
        # All are kept: with the default of 20, most of many orders would shake hands anew.
        limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        self._http = httpx2.AsyncClient(limits=limits) if http is None else http
        self._timeout_seconds = timeout_seconds
        self._phases = httpx2.Timeout(
            timeout_seconds, connect=timeout_seconds / 3, pool=timeout_seconds / 3
        )

    async def send(self, request: Request, *, asked_at: datetime) -> Answer:
        """Send one request, once, and return the answer whatever its status.

        Raises NovitaTimeout or NovitaUnavailable when a read failed or a change was surely not
        sent, and OutcomeUnknown when a change may have arrived.  Redirects are not followed.
        """
        try:
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._http.stream(
                    request.method,
                    self._base_url + request.path,
                    params=request.query,
                    json=request.body,
                    headers=self._headers,
                    timeout=self._phases,
                    follow_redirects=False,
                ) as response,
            ):
                body = await _read_body(response)
                return Answer(response.status_code, response.headers, body, asked_at)
        except _NEVER_SENT as error:
            raise _failure(request, error, was_sent=False) from error
        except (httpx2.HTTPError, OSError) as error:
            raise _failure(request, error, was_sent=True) from error

    async def aclose(self) -> None:
        """Close the connections, unless they are somebody else's."""
        if self._owns_http:
            await self._http.aclose()


def _headers(api_key: SecretStr) -> dict[str, str]:
    key = api_key.get_secret_value()
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        # Checked here because the HTTP library would show the key in its error.
        raise BadCredentials("NOVITA_API_KEY is empty or has characters that no key has.")
    return {
        "authorization": f"Bearer {key}",
        "accept": "application/json",
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
