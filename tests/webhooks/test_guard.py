"""Which addresses a caller's webhook may reach: by number, by text, by name."""

import asyncio
import threading
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import gaierror

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.webhooks import guard
from gpukeeper.webhooks.guard import (
    Allowance,
    ForbiddenAddress,
    Resolver,
    check_url,
    is_public,
    look_up,
    resolve,
)

NOTHING = Allowance()


def knowing(*answers: Sequence[str]) -> Resolver:
    """Return a resolver that gives these answers, one per look-up."""
    left = list(answers)

    async def resolver(host: str, port: int) -> list[IPv4Address | IPv6Address]:
        return [ip_address(address) for address in left.pop(0)]

    return resolver


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
        "126.255.255.255", "128.0.0.0", "168.63.129.15", "169.253.255.255", "172.15.255.255",
        "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
        "198.20.0.0", "223.255.255.255", "2001:200::1", "2003::1", "2400:cb00::1",
        "2606:4700:4700::1111", "2a00:1450:4001::1", "3ffd:ffff::1", "::ffff:8.8.8.8",
    ],
)  # fmt: skip
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        # this network, private, shared, loopback, link-local
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
        "127.0.0.1", "127.255.255.255", "169.254.0.1", "172.16.0.0", "172.31.255.255",
        "192.168.0.0", "192.168.255.255",
        # metadata services
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16",
        "fd00:ec2::254", "fd20:ce::254",
        # protocol assignments, documentation, benchmarking, 6to4 relay, AS112
        "192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.0", "198.19.255.255",
        "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1",
        # multicast, reserved, broadcast
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        # IPv6: unspecified, loopback, link-local, site-local, private, multicast, discard
        "::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "fc00::1", "fdff::1",
        "ff02::1", "ff0e::1", "100::1", "100:0:0:1::1",
        # IPv6: documentation, segment routing, ORCHID, benchmarking, 6bone, AS112, not handed out
        "2001:db8::1", "3fff::1", "3fff:fff::1", "5f00::1", "2001:10::1", "2001:20::1",
        "2001:2::1", "3ffe::1", "2620:4f:8000::1", "4000::1", "1000::1", "e000::1",
        # IPv4 inside of IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
        "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8",
        "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:808:808::1", "2001:0:808:808::1",
        "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1",
    ],
)  # fmt: skip
def test_an_address_for_a_special_purpose_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(ForbiddenAddress):
        check_url(f"https://{host}/hook", allow=NOTHING)


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_nothing_is_public_that_python_calls_private(address: IPv4Address) -> None:
    assert address.is_global or not is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "me.localhost", "a.b.localhost.", "metadata",
        "127.1", "0177.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001", "0", "0x0",
        "127.0.0.1.", "127.0.0.01", "0xA9FEA9FE", "2852039166", "169.254.43518", "10.1", "[::]",
        "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]",
        "\N{FULLWIDTH DIGIT ONE}27.0.0.1", "\N{CIRCLED DIGIT ONE}27.0.0.1",
        "127\N{IDEOGRAPHIC FULL STOP}0.0.1", "loc\N{CIRCLED LATIN SMALL LETTER A}lhost",
        "127\N{HALFWIDTH IDEOGRAPHIC FULL STOP}1", "[fe80::1%25eth0]", "%6cocalhost",
    ],
)  # fmt: skip
def test_a_local_host_is_refused_in_any_spelling(host: str) -> None:
    for url in (f"http://{host}/hook", f"HTTPS://{host}:8443?x"):
        with pytest.raises(ForbiddenAddress):
            check_url(url, allow=NOTHING)


def test_a_refusal_says_what_an_operator_can_do() -> None:
    with pytest.raises(ForbiddenAddress, match=r"^127\.0\.0\.1 is not a public address\. .*ALLOW"):
        check_url("http://2130706433/secret-path", allow=NOTHING)


def test_a_public_url_is_returned_in_its_normal_form() -> None:
    assert check_url("HTTPS://Hooks.Example", allow=NOTHING) == "https://hooks.example/"
    assert check_url("http://134744072/", allow=NOTHING) == "http://8.8.8.8/"


def test_what_the_operator_allows_may_be_reached() -> None:
    allow = Allowance.parse(
        "listener, Hooks.Internal., *.svc.local,10.0.0.0/8, 192.168.1.5,,fd00::/8, ::1"
    )
    for host in (
        *("listener", "hooks.internal", "a.svc.local", "a.b.svc.local"),
        *("10.1.2.3", "192.168.1.5", "[fd00::1]", "[::1]", "[::ffff:10.1.2.3]"),
    ):
        check_url(f"http://{host}/", allow=allow)
    for host in ("localhost", "svc-local", "127.0.0.1", "192.168.1.6", "[fc00::1]", "[::2]"):
        with pytest.raises(ForbiddenAddress):
            check_url(f"http://{host}/", allow=allow)
    assert not allow.has_host("svc.local")
    assert not allow.has_host("other.internal")


def test_no_setting_allows_nothing() -> None:
    assert Allowance.parse(" , ") == NOTHING


@pytest.mark.parametrize(
    "entry",
    [
        "http://hooks.example", "hooks.example:80", "10.0.0.0/33", "10.0.0.1/8", "a b", "*", "*.",
        "*.10.0.0.1", "*.*.internal", "user@host", "fe80::1%eth0", "1.2.3.4.5", "-",
    ],
)  # fmt: skip
def test_an_entry_that_is_no_host_and_no_network_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host, an address or a network") as info:
        Allowance.parse(f"hooks.example, {entry}")
    assert repr(entry) in str(info.value)


async def test_a_name_is_pinned_to_its_public_addresses() -> None:
    target = await resolve(
        "https://hooks.example:8443/a?b",
        allow=NOTHING,
        resolver=knowing(["2606:4700::1", "1.1.1.1", "::ffff:1.1.1.1"]),
    )
    assert target.url == "https://hooks.example:8443/a?b"
    assert (target.host, target.port, target.is_tls) == ("hooks.example", 8443, True)
    assert target.address == ip_address("2606:4700::1")
    assert target.addresses == (ip_address("2606:4700::1"), ip_address("1.1.1.1"))


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["::ffff:10.0.0.1"],
        ["64:ff9b::a9fe:a9fe"], ["1.1.1.1", "::1"], ["fe80::1%eth0"],
    ],
)  # fmt: skip
async def test_one_forbidden_address_refuses_the_name(addresses: list[str]) -> None:
    with pytest.raises(ForbiddenAddress, match=r"^hooks\.example leads to") as info:
        await resolve("http://hooks.example/", allow=NOTHING, resolver=knowing(addresses))
    assert not any(address in info.value.message for address in addresses)


async def test_an_answer_that_changes_is_vetted_again() -> None:
    resolver = knowing(["1.1.1.1"], ["127.0.0.1"])
    await resolve("http://hooks.example/", allow=NOTHING, resolver=resolver)
    with pytest.raises(ForbiddenAddress):
        await resolve("http://hooks.example/", allow=NOTHING, resolver=resolver)


async def test_an_allowed_network_covers_names_that_lead_into_it() -> None:
    allow = Allowance.parse("10.0.0.0/8")
    resolver = knowing(["::ffff:10.0.0.1", "1.1.1.1"], ["10.0.0.1", "127.0.0.1"])
    target = await resolve("http://hooks.example/", allow=allow, resolver=resolver)
    assert target.address == ip_address("10.0.0.1")
    with pytest.raises(ForbiddenAddress):
        await resolve("http://hooks.example/", allow=allow, resolver=resolver)


async def test_an_allowed_host_may_lead_anywhere() -> None:
    target = await resolve(
        "http://listener:9000/", allow=Allowance.parse("listener"), resolver=knowing(["172.18.0.3"])
    )
    assert (str(target.address), target.port, target.is_tls) == ("172.18.0.3", 9000, False)


async def test_an_address_needs_no_look_up() -> None:
    target = await resolve("http://[2606:4700::1]/", allow=NOTHING, resolver=knowing())
    assert target.address == ip_address("2606:4700::1")
    with pytest.raises(ForbiddenAddress):
        await resolve("http://10.1/", allow=NOTHING, resolver=knowing())


async def test_a_name_without_an_address_is_trouble_of_the_network() -> None:
    with pytest.raises(gaierror):
        await resolve("http://hooks.example/", allow=NOTHING, resolver=knowing([]))


async def test_the_system_resolver_knows_this_machine() -> None:
    assert await look_up("127.0.0.1", 80) == [ip_address("127.0.0.1")]


async def test_a_name_that_cannot_be_looked_up_is_trouble_of_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise gaierror(-2, "Name or service not known")

    monkeypatch.setattr(guard, "getaddrinfo", unknown)
    with pytest.raises(gaierror, match="not known"):
        await look_up("hooks.example", 80)


async def test_names_whose_server_never_answers_hold_up_no_other_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    begun = threading.Semaphore(0)

    def silent(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host.startswith("dead"):
            begun.release()
            answered.wait()
        return [("", "", "", "", ("1.1.1.1", port))]

    monkeypatch.setattr(guard, "getaddrinfo", silent)
    dead = [asyncio.create_task(look_up(f"dead-{n}.example", 80)) for n in range(100)]
    assert await look_up("hooks.example", 80) == [ip_address("1.1.1.1")]
    for _ in dead:
        assert begun.acquire(timeout=10)
    # Given up by those who asked; the threads find out when their answers come.
    for task in dead[:50]:
        task.cancel()
    answered.set()
    assert await asyncio.gather(*dead[50:]) == [[ip_address("1.1.1.1")]] * 50


async def test_a_look_up_that_is_given_up_at_once_asks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    held: list[threading.Thread] = []
    monkeypatch.setattr(guard, "getaddrinfo", lambda host, *_, **__: asked.append(host))
    monkeypatch.setattr(threading.Thread, "start", lambda thread: held.append(thread))
    task = asyncio.create_task(look_up("hooks.example", 80))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (thread,) = held
    thread.run()
    assert asked == []
