"""Recognise the API keys by their digests, and slow down whoever guesses them."""

import hashlib
import hmac
from collections.abc import Callable, Collection
from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from gpukeeper.api.throttle import Throttle
from gpukeeper.domain.errors import TooManyWrongKeys, Unauthorized
from gpukeeper.telemetry import get_logger

_log = get_logger(__name__)

# Wrong keys a minute: more than anybody mistypes, and hopeless against 16 characters.
_LIMIT = 10

# The same for all whom one proxy speaks for, since what it says of them may be made up.
_PROXY_LIMIT = 100

# Whoever has an address of version 6 has a whole network of this size.
_IPV6_PREFIX_BITS = 64


class Keys:
    """The digests of the keys; true when there is any."""

    def __init__(self, keys: Collection[SecretStr], *, clock: Callable[[], datetime]) -> None:
        # Digests are equally long, so that comparing them does not tell the length of a key.
        self.digests = tuple(_digest(key.get_secret_value()) for key in keys)
        self._by_source = Throttle(limit=_LIMIT, clock=clock)
        self._by_peer = Throttle(limit=_PROXY_LIMIT, clock=clock)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def recognise(self, key: str, scope: Scope) -> bytes:
        """Return the digest of a key that is one of ours; ``scope`` is the request it came with.

        Takes equally long whichever key it is, or none.  Raises Unauthorized, and
        TooManyWrongKeys without looking at the key when too many wrong ones came before it.
        """
        given = _digest(key)
        peer, source = _sources(scope)
        wait = max(self._by_source.wait(source, given), self._by_peer.wait(peer, given))
        if wait:
            raise TooManyWrongKeys(retry_after=wait)
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        if any(matches):
            return given
        self._by_source.count(source, given)
        self._by_peer.count(peer, given)
        _log.warning("wrong_key", client=source, path=scope["path"])
        raise Unauthorized


def bearer_key(headers: Headers) -> str | None:
    """Return the key that a request carries, if any."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _sources(scope: Scope) -> tuple[str, str]:
    """Return who is connected, and for whom: a proxy appends its client to X-Forwarded-For.

    Whoever makes that up gains the proxy's limit at most, and nothing else is concluded from it.
    """
    peer = _network((scope.get("client") or ("unknown", 0))[0])
    *_, last = Headers(scope=scope).get("x-forwarded-for", "").split(",")
    forwarded = _network(last.strip())
    return peer, f"{forwarded} via {peer}" if forwarded != "unknown" else peer


def _network(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), _IPV6_PREFIX_BITS), strict=False))
