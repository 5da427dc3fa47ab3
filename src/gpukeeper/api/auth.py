"""Let in only those who may: with a key, signed in at the dashboard, or from this machine."""

import hashlib
import hmac
from collections.abc import Callable, Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpukeeper.api.problems import problem
from gpukeeper.domain.errors import Unauthorized

# Methods that change nothing, and so are no use to a foreign page that has them sent.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

SignedIn = Callable[[Headers], bool]


class Auth:
    """ASGI middleware that answers 401 to everyone else.

    ``is_signed_in`` judges the dashboard's cookie, ``is_public`` the path of what needs no key.
    Without any key, only this machine is served.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Collection[SecretStr],
        is_signed_in: SignedIn,
        is_public: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._digests = tuple(_digest(key.get_secret_value()) for key in keys)
        self._is_signed_in = is_signed_in
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Unauthorized as error:
            await problem(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._digests:
            check_loopback(headers)
        elif has_key(headers, self._digests):
            return
        elif not self._is_signed_in(headers):
            raise Unauthorized
        elif scope.get("method") not in _SAFE_METHODS:
            check_same_origin(headers)


def has_key(headers: Headers, digests: Collection[bytes]) -> bool:
    """Whether a request carries one of the keys; takes equally long whichever it is, or none."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    given = _digest(key.strip())
    matches = [hmac.compare_digest(given, digest) for digest in digests]
    return scheme.lower() == "bearer" and any(matches)


def check_loopback(headers: Headers) -> None:
    """Refuse what a foreign web page could have a browser on this machine send.

    Such a page may let its own name lead to this machine, which shows in the Host header, or send
    to a local name, which shows in the Origin header.  Raises Unauthorized.
    """
    if not _is_loopback(f"//{headers.get('host', '')}"):
        raise Unauthorized(
            "Without GPUKEEPER_API_KEYS, requests must be addressed to localhost or 127.0.0.1."
        )
    if "origin" in headers and not _is_loopback(headers["origin"]):
        raise Unauthorized("Without GPUKEEPER_API_KEYS, other web pages may not send requests.")


def check_same_origin(headers: Headers) -> None:
    """Refuse a change that a foreign page asks for with the dashboard's cookie.

    Raises Unauthorized.
    """
    origin = urlsplit(headers.get("origin", "")).netloc
    if not origin or origin != headers.get("host", ""):
        raise Unauthorized("Changes made with the dashboard's cookie must come from its own pages.")


def _is_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(key: str) -> bytes:
    # Digests are equally long, so that comparing them does not tell the length of a key.
    return hashlib.sha256(key.encode()).digest()
