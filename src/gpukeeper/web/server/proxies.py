"""Find out which client a request comes from: the one that is connected, or one behind a proxy."""

import re
from collections.abc import Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
RawHeaders = Sequence[tuple[bytes, bytes]]

# No request comes through more proxies; what stands before these was made up.
_MAX_HOPS = 32

# Whoever has an address of version 6 has a whole network of this size.
_IPV6_PREFIX_BITS = 64

_PORT = re.compile(r":[0-9]{1,5}")


class Proxies:
    """The networks whose word is believed on whom they speak for."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def has(self, address: Address | None) -> bool:
        """Whether an address is that of a proxy of ours."""
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str, headers: RawHeaders) -> Address | None:
        """Return who asks: whoever is connected, or for whom a proxy of ours says that it speaks.

        Each proxy adds the one that is connected to it at the end, so what a client has made up
        stands before what is true: the last address that is not a proxy of ours is the client's.
        Where ``X-Forwarded-For`` and ``Forwarded`` name different ones, our proxy has written one
        of them and a client the other, and neither is believed.  None when nothing is known.
        """
        connected = read_address(peer)
        if not self.has(connected):
            return connected
        said = [
            self._last(connected, read(line))
            for name, read in ((b"x-forwarded-for", _hops), (b"forwarded", _elements))
            if (line := _joined(headers, name))
        ]
        return said[0] if said and len(set(said)) == 1 else connected

    def _last(self, connected: Address | None, hops: Iterator[Address | None]) -> Address | None:
        """Return the nearest hop that is no proxy of ours, or the farthest that is known."""
        found = connected
        for hop in hops:
            if hop is None:
                break
            found = hop
            if not self.has(hop):
                break
        return found


def read_address(text: str) -> Address | None:
    """Return the address that a proxy writes, be it in brackets or quotes, or with a port."""
    bare = text.strip().strip('"')
    if bare.startswith("["):
        inner, end, rest = bare[1:].partition("]")
        bare = inner if end and (not rest or _PORT.fullmatch(rest)) else ""
    elif bare.count(":") == 1:
        # An address of version 6 has two colons at least.
        bare, _, port = bare.partition(":")
        bare = bare if _PORT.fullmatch(f":{port}") else ""
    try:
        found = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def network_of(address: Address | None) -> str:
    """Return what stands for an address where clients are counted: of version 6, its network."""
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _IPV6_PREFIX_BITS), strict=False))
    return str(address)


def _joined(headers: RawHeaders, name: bytes) -> str:
    """Return all lines of a header as one; some proxies add a line of their own."""
    return ",".join(value.decode("latin-1") for each, value in headers if each == name)


def _hops(line: str) -> Iterator[Address | None]:
    """Return what ``X-Forwarded-For`` names, the nearest first."""
    return map(read_address, reversed(line.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]))


def _elements(line: str) -> Iterator[Address | None]:
    """Return what ``Forwarded`` names, the nearest first; None for what is hidden or unknown."""
    # No address has a comma or a semicolon in its quotes: whoever sends one has made it up.
    for element in reversed(line.rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
        pairs = [pair.partition("=") for pair in element.split(";")]
        nodes = [value for name, _, value in pairs if name.strip().lower() == "for"]
        yield read_address(nodes[0]) if len(nodes) == 1 else None
