"""Decide which addresses a caller's webhook may reach (contract §5).

A URL's text is vetted when it is given (:func:`check_url`).  Each time something is sent, every
address that its host resolves to is vetted too (:func:`resolve`), and the connection is made to a
vetted address rather than to a name, so that no second look-up can lead elsewhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from socket import EAI_NONAME, SOCK_STREAM, gaierror, getaddrinfo
from threading import Thread
from typing import Self

from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.webhooks.urls import Address, Url, parse_host, parse_url, unmapped

Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

_REMEDY = "To allow it, an operator names it in GPUKEEPER_WEBHOOK_ALLOW."

# Every block of IANA's IPv4 special-purpose registry, and more as noted.
_SPECIAL_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: public by number, reachable from every machine
        "169.254.0.0/16",  # link-local; metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# The only part of IPv6 that is handed out as public addresses.  Unspecified, loopback, private,
# link-local, site-local, multicast, discard, segment routing, NAT64 and every IPv4-embedding
# block below 2000:: are outside of it.
_GLOBAL_IPV6 = IPv6Network("2000::/3")

# What is not public inside of it.
_SPECIAL_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking, multicast tunnels
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, returned
        "3fff::/20",  # documentation
    )
)

# ISATAP puts an IPv4 address behind these interface identifiers, under any prefix.
_ISATAP_IDENTIFIERS = (0x00005EFE, 0x02005EFE)


class ForbiddenAddress(GpuKeeperError):
    """A webhook may not be sent to this address."""

    code = "invalid_request"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The hosts and networks that webhooks may reach although they are not public.

    A host that is named may resolve to any address; a network covers its addresses, whatever name
    leads to them.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the comma-separated list of ``GPUKEEPER_WEBHOOK_ALLOW``.

        An entry is a host name, a domain written ``*.internal`` (every name below it), an address
        or a network.  Raises :class:`ValueError` naming the entry that is none of these.
        """
        entries = [_entry(entry) for entry in map(str.strip, text.split(",")) if entry]
        return cls(
            hosts=frozenset(entry for entry in entries if isinstance(entry, str)),
            networks=tuple(entry for entry in entries if not isinstance(entry, str)),
        )

    def has_host(self, host: str) -> bool:
        """Say whether a host name, as :func:`check_url` writes it, or a domain above is named."""
        domains = (f"*{host[at:]}" for at, letter in enumerate(host) if letter == ".")
        return host in self.hosts or any(domain in self.hosts for domain in domains)

    def has_address(self, address: Address) -> bool:
        """Say whether a network covers the address."""
        return any(unmapped(address) in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes: its normalised URL, and the vetted addresses to connect to in turn."""

    url: str
    host: str
    port: int
    is_tls: bool
    addresses: tuple[Address, ...]

    @property
    def address(self) -> Address:
        """The one to be tried first."""
        return self.addresses[0]


def is_public(address: Address) -> bool:
    """Say whether an address belongs to the public Internet.

    It fails closed: an IPv6 address is public only inside the block that is handed out.  An
    IPv4-mapped address (``::ffff:10.0.0.1``) is judged as the IPv4 address that it reaches.  Any
    other way of putting an IPv4 address into an IPv6 address is a tunnel or a translator that a
    receiver has no need of, and is refused whatever is inside.
    """
    reached = unmapped(address)
    if isinstance(reached, IPv4Address):
        return not any(reached in block for block in _SPECIAL_IPV4)
    is_special = any(reached in block for block in _SPECIAL_IPV6)
    is_isatap = int(reached) >> 32 & 0xFFFFFFFF in _ISATAP_IDENTIFIERS
    return reached in _GLOBAL_IPV6 and not is_special and not is_isatap


def check_url(url: str, *, allow: Allowance) -> str:
    """Return a caller's URL in its normal form after vetting it, without resolving its name.

    Numbers that spell an address in any way are read as that address.  Raises
    :class:`ForbiddenAddress` for anything but http and https, for a user name or password, and for
    an address or a local name that is neither public nor allowed.
    """
    return str(_vetted(url, allow))


async def look_up(host: str, port: int) -> list[Address]:
    """Resolve a host name with the system's resolver; raises :class:`OSError` if it cannot.

    Each look-up has a thread of its own, which nothing waits for once it is given up: threads
    that are shared would all be held by the names of one server that never answers.
    """
    found: Future[list[Address]] = Future()
    Thread(target=_look_up, args=(host, port, found), name="webhook-lookup", daemon=True).start()
    return await asyncio.wrap_future(found)


async def resolve(url: str, *, allow: Allowance, resolver: Resolver = look_up) -> Target:
    """Vet a URL and every address that its host has now; return those to connect to.

    One forbidden address among several is enough to refuse them all: a receiver has no reason to
    mix them.  Raises :class:`ForbiddenAddress`, and :class:`OSError` when the look-up fails.
    """
    place = _vetted(url, allow)
    addresses = await _addresses(place, allow, resolver)
    return Target(
        url=str(place),
        host=str(place.host),
        port=place.port,
        is_tls=place.scheme == "https",
        addresses=tuple(dict.fromkeys(addresses)),
    )


def _look_up(host: str, port: int, found: Future[list[Address]]) -> None:
    # From here on it cannot be cancelled any more, so that the result has somewhere to go.
    if not found.set_running_or_notify_cancel():
        return
    try:
        places = getaddrinfo(host, port, type=SOCK_STREAM)
    except OSError as error:
        found.set_exception(error)
    else:
        found.set_result([ip_address(str(place[0])) for *_, place in places])


def _vetted(url: str, allow: Allowance) -> Url:
    try:
        place = parse_url(url)
    except ValueError as error:
        raise ForbiddenAddress(str(error)) from error
    if isinstance(place.host, str):
        is_local = "." not in place.host or place.host.endswith(".localhost")
        is_refused = is_local and not allow.has_host(place.host)
    else:
        is_refused = not (is_public(place.host) or allow.has_address(place.host))
    if is_refused:
        raise ForbiddenAddress(f"{place.host} is not a public address. {_REMEDY}")
    return place


async def _addresses(place: Url, allow: Allowance, resolver: Resolver) -> list[Address]:
    if not isinstance(place.host, str):
        return [place.host]
    addresses = [unmapped(address) for address in await resolver(place.host, place.port)]
    if not addresses:
        raise gaierror(EAI_NONAME, f"{place.host} has no address")
    if allow.has_host(place.host):
        return addresses
    if not all(is_public(address) or allow.has_address(address) for address in addresses):
        # The address itself is not told: it would let callers explore the names of our network.
        raise ForbiddenAddress(f"{place.host} leads to an address that is not public. {_REMEDY}")
    return addresses


def _entry(text: str) -> str | Network:
    prefix = "*." if text.startswith("*.") else ""
    name = text.removeprefix(prefix)
    try:
        if "/" in text:
            return ip_network(text)
        host = parse_host(f"[{name}]" if ":" in name else name)
        return prefix + host if isinstance(host, str) else ip_network(f"{prefix}{host}")
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a host, an address or a network such as hooks.example, "
            f"*.internal, 192.168.1.5 or 10.0.0.0/8 ({error})"
        ) from error
