"""Which client a request is said to come from, and who may say so."""

from ipaddress import ip_address, ip_network

import pytest

from gpukeeper.web.server.proxies import Proxies, network_of, read_address

OURS = Proxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def client(peer: str, *headers: tuple[str, str], proxies: Proxies = OURS) -> str:
    """Return the client of a request as text."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return str(proxies.client(peer, raw))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4:5678 ", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ('"1.2.3.4:80"', "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::ffff:1.2.3.4]:1", "1.2.3.4"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:8080", "fe80::1"),
    ],
)
def test_an_address_is_read_in_every_way_that_proxies_write_it(text: str, address: str) -> None:
    assert read_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "_hidden", "_SEVKISEK", "localhost", '"', "[]", "[::1", "[::1]x"),
        *("1.2.3", "1.2.3.4:x", "1.2.3.4:", "[::1]:123456", "1.2.3.4 5.6.7.8", "\u0661.2.3.4"),
    ],
)
def test_what_is_no_address_is_nobodys(text: str) -> None:
    assert read_address(text) is None


@pytest.mark.parametrize("peer", ["203.0.113.9", "127.0.0.1", "192.168.0.7", "172.17.0.1", "::1"])
def test_nobody_is_believed_who_is_not_named(peer: str) -> None:
    said = [("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "for=8.8.8.8")]
    for header in said:
        assert client(peer, header) == client(peer, header, proxies=Proxies()) == peer


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], "10.0.0.2"),
        ([("X-Forwarded-For", "8.8.8.8, 203.0.113.9")], "203.0.113.9"),
        ([("X-Forwarded-For", "203.0.113.9, 10.1.1.1, fd00::7")], "203.0.113.9"),
        ([("X-Forwarded-For", "10.1.1.1, 10.2.2.2")], "10.1.1.1"),
        ([("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-For", "203.0.113.9:1")], "203.0.113.9"),
        ([("X-Forwarded-For", "8.8.8.8, unknown")], "10.0.0.2"),
        ([("X-Forwarded-For", "8.8.8.8, unknown, 10.3.3.3")], "10.3.3.3"),
        ([("X-Forwarded-For", "8.8.8.8,")], "10.0.0.2"),
        ([("Forwarded", "for=8.8.8.8, for=203.0.113.9")], "203.0.113.9"),
        ([("Forwarded", 'proto=https;For="[2001:db8::1]:443";by=10.0.0.2')], "2001:db8::1"),
        ([("Forwarded", 'for="203.0.113.9:80" , for=10.3.3.3')], "203.0.113.9"),
        ([("Forwarded", "for=8.8.8.8, for=_hidden")], "10.0.0.2"),
        ([("Forwarded", "for=8.8.8.8, for=unknown")], "10.0.0.2"),
        ([("Forwarded", "for=8.8.8.8, proto=https")], "10.0.0.2"),
        ([("Forwarded", "for=8.8.8.8;for=9.9.9.9")], "10.0.0.2"),
        # An open quote does not swallow what our proxy adds.
        ([("Forwarded", 'for="8.8.8.8'), ("Forwarded", "for=203.0.113.9")], "203.0.113.9"),
        # Both, from proxies that write both.
        ([("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "1.1.1.1:80")], "1.1.1.1"),
        # Our proxy writes one, and a client has made up the other.
        ([("Forwarded", "for=8.8.8.8"), ("X-Forwarded-For", "203.0.113.9")], "10.0.0.2"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_the_client(
    headers: list[tuple[str, str]], found: str
) -> None:
    assert client("10.0.0.2", *headers) == found


def test_of_a_line_of_thousands_of_hops_only_the_last_are_read() -> None:
    line = "8.8.8.8, " + ", ".join(["10.0.0.1"] * 8000)
    assert client("10.0.0.2", ("X-Forwarded-For", line)) == "10.0.0.1"
    assert client("10.0.0.2", ("Forwarded", "a" * 60_000)) == "10.0.0.2"


def test_a_peer_without_an_address_is_unknown() -> None:
    assert client("", ("X-Forwarded-For", "8.8.8.8")) == "None"
    assert network_of(None) == "unknown"
