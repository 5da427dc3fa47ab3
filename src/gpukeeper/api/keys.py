"""Recognise the API keys by their digests, and slow down whoever guesses them."""

import hashlib
import hmac
from collections.abc import Callable, Collection
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from gpukeeper.api.throttle import Throttle
from gpukeeper.domain.errors import TooManyWrongKeys, Unauthorized
from gpukeeper.telemetry import get_logger

Address = IPv4Address | IPv6Address

_log = get_logger(__name__)

# Wrong keys a minute: more than anybody mistypes, and hopeless against 16 characters.
_LIMIT = 10

# Where a proxy of ours may stand.  What anybody else says of whom he speaks for may be made up.
_PROXIES = tuple(
    ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)

# Whoever has an address of version 6 has a whole network of this size.
_IPV6_PREFIX_BITS = 64


class Keys:
    """The digests of the keys; true when there is any."""

    def __init__(self, keys: Collection[SecretStr], *, clock: Callable[[], datetime]) -> None:
        # Digests are equally long, so that comparing them does not tell the length of a key.
        self.digests = tuple(_digest(key.get_secret_value()) for key in keys)
        self._guesses = Throttle(limit=_LIMIT, clock=clock)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def recognise(self, key: str, scope: Scope) -> bytes:
        """Return the digest of a key that is one of ours; ``scope`` is the request it came with.

        Takes equally long whichever key it is, or none.  Raises Unauthorized, and
        TooManyWrongKeys without looking at the key when too many wrong ones came before it.
        """
        given = _digest(key)
        # While nobody has to wait, it need not be found out who asks.
        if not self._guesses.is_calm():
            wait = self._guesses.wait(_source(scope), given)
            if wait:
                raise TooManyWrongKeys(retry_after=wait)
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        if any(matches):
            return given
        source = _source(scope)
        self._guesses.count(source, given)
        _log.warning("wrong_key", client=source, path=scope["path"])
        raise Unauthorized("This key is not one of those in GPUKEEPER_API_KEYS.")


def bearer_key(headers: Headers) -> str | None:
    """Return the key that a request carries, if any."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _source(scope: Scope) -> str:
    """Return who asks: whoever is connected, or for whom a proxy of ours says that it speaks.

    Each proxy adds the one that is connected to it at the end of X-Forwarded-For, some of them
    in a line of its own, so what a client has made up stands before what is true.
    """
    peer = _address((scope.get("client") or ("", 0))[0])
    source = peer
    lines = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    for forwarded in map(_address, reversed(lines)):
        if source is None or forwarded is None or not _is_proxy(source):
            break
        source = forwarded
    return _network(source) if source == peer else f"{_network(source)} via {_network(peer)}"


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def _is_proxy(address: Address) -> bool:
    return any(address in network for network in _PROXIES)


def _network(address: Address | None) -> str:
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _IPV6_PREFIX_BITS), strict=False))
    return str(address)
