"""Any text is refused, or is a URL with one meaning that leads to public addresses only."""

# ruff: noqa: RUF001 - letters that look like others are what this is about

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from socket import gaierror
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from gpukeeper.webhooks.guard import Allowance, ForbiddenAddress, check_url, is_public, resolve
from gpukeeper.webhooks.urls import Address
from tests.webhooks.hostile import HOSTILE_URLS

NOTHING = Allowance()

_ODD = st.sampled_from(
    [*"@#?/\\:[]%.。．0x", "\u200b", "\u00ad", "%00", "::ffff:", "①", "ß", "xn--"]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return a hostile URL with a few pieces replaced, added or left out."""
    url = draw(st.sampled_from(HOSTILE_URLS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(url)))
        until = min(at + draw(st.integers(0, 3)), len(url))
        url = url[:at] + draw(_ODD | st.text(max_size=2)) + url[until:]
    return url


_HOSTS = st.text(max_size=40) | st.ip_addresses().map(str) | st.integers(0, 2**33).map(str)
_URLS = (
    st.text(max_size=80)
    | mutated()
    | st.builds("http{}://{}{}/{}".format, st.sampled_from(["", "s"]), _HOSTS, _ODD, _ODD)
)
_ANSWERS = st.lists(st.ip_addresses(), max_size=3)


@given(_URLS, _ANSWERS)
@example("http://hooks.example/", [ip_address("1.1.1.1"), ip_address("::ffff:127.0.0.1")])
def test_whatever_passes_has_one_meaning_and_leads_to_public_addresses(
    url: str, answers: list[Address]
) -> None:
    try:
        normal = check_url(url, allow=NOTHING)
    except ForbiddenAddress:
        return
    assert check_url(normal, allow=NOTHING) == normal
    parts = urlsplit(normal)
    assert parts.scheme in {"http", "https"}
    assert parts.username is None
    assert parts.password is None

    async def resolver(host: str, port: int) -> Sequence[Address]:
        return answers

    with suppress(ForbiddenAddress, gaierror):
        target = asyncio.run(resolve(normal, allow=NOTHING, resolver=resolver))
        assert is_public(target.address)
        assert target.url == normal
        # A second reader of the same text comes to the same place.
        assert (parts.hostname or "") == target.host
        assert (parts.port or {"http": 80, "https": 443}[parts.scheme]) == target.port


@given(mutated(), st.lists(st.ip_addresses(), min_size=1, max_size=3))
def test_a_url_that_was_never_vetted_is_vetted_when_it_is_called(
    url: str, answers: list[Address]
) -> None:
    async def resolver(host: str, port: int) -> Sequence[Address]:
        return answers

    with suppress(ForbiddenAddress):
        target = asyncio.run(resolve(url, allow=NOTHING, resolver=resolver))
        assert is_public(target.address)
