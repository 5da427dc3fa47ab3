"""URLs in every spelling have one meaning, and it is written down in one way."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.webhooks.urls import parse_host, parse_url, shown_url, unmapped


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://hooks.example/a?b=c", "https://hooks.example/a?b=c"),
        ("HTTPS://Hooks.Example:443", "https://hooks.example/"),
        ("http://hooks.example:80/", "http://hooks.example/"),
        ("https://hooks.example:80/", "https://hooks.example:80/"),
        ("http://hooks.example:/x", "http://hooks.example/x"),
        ("http://hooks.example:00081/x", "http://hooks.example:81/x"),
        ("http://hooks.example?b=c", "http://hooks.example/?b=c"),
        ("http://hooks.example/a#b", "http://hooks.example/a"),
        ("http://hooks.example#@10.0.0.1/", "http://hooks.example/"),
        ("http://hooks.example?@10.0.0.1/", "http://hooks.example/?@10.0.0.1/"),
        ("http://hooks.example/@10.0.0.1/", "http://hooks.example/@10.0.0.1/"),
        ("http://hooks.example./", "http://hooks.example/"),
        ("http://hooks\N{FULLWIDTH FULL STOP}example/", "http://hooks.example/"),
        ("http://hooks\N{IDEOGRAPHIC FULL STOP}example/", "http://hooks.example/"),
        ("http://Bücher.example/é?ü=%20", "http://xn--bcher-kva.example/%C3%A9?%C3%BC=%20"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/"),
        ("http://my_service:9000/", "http://my_service:9000/"),
        ("http://[2606:4700:0:0::1111]:8443/", "http://[2606:4700::1111]:8443/"),
        ("http://[::FFFF:1.2.3.4]/", "http://1.2.3.4/"),
        ("http://[::ffff:102:304]/", "http://1.2.3.4/"),
        ("http://1.2.3.4/", "http://1.2.3.4/"),
        ("http://1.2.3.4./", "http://1.2.3.4/"),
        ("http://16909060/", "http://1.2.3.4/"),
        ("http://0x01020304/", "http://1.2.3.4/"),
        ("http://0X1.0x2.0x3.0X4/", "http://1.2.3.4/"),
        ("http://01.02.03.04/", "http://1.2.3.4/"),
        ("http://000001.2.3.4/", "http://1.2.3.4/"),
        ("http://1.131844/", "http://1.2.3.4/"),
        ("http://1.2.772/", "http://1.2.3.4/"),
        (
            "http://\N{FULLWIDTH DIGIT ONE}.2\N{FULLWIDTH FULL STOP}"
            "\N{CIRCLED DIGIT THREE}\N{IDEOGRAPHIC FULL STOP}4/",
            "http://1.2.3.4/",
        ),
        ("http://0/", "http://0.0.0.0/"),
    ],
)
def test_a_url_is_written_in_its_normal_form(text: str, normal: str) -> None:
    assert str(parse_url(text)) == normal
    assert str(parse_url(normal)) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is http:// or https://"),
        ("hooks.example", "is http:// or https://"),
        ("//hooks.example/", "is http:// or https://"),
        ("ftp://hooks.example/", "is http:// or https://"),
        ("file:///etc/passwd", "is http:// or https://"),
        ("gopher://hooks.example/", "is http:// or https://"),
        ("javascript:alert(1)", "is http:// or https://"),
        ("http\N{LATIN SMALL LETTER LONG S}://hooks.example/", "is http:// or https://"),
        ("http:/hooks.example/", "is http:// or https://"),
        ("http:///hooks.example/", "is http:// or https://"),
        ("http://", "is http:// or https://"),
        ("http://:80/", "is http:// or https://"),
        ("http://hooks.example:http/", "is http:// or https://"),
        ("http://hooks.example:٨٠/", "is http:// or https://"),
        ("http://hooks.example:-1/", "is http:// or https://"),
        ("http://hooks.example:80:80/", "is http:// or https://"),
        ("http://2606:4700::1111/", "is http:// or https://"),
        ("http://[::1/", "is http:// or https://"),
        ("http://[::1]x/", "is http:// or https://"),
        ("http://x[::1]/", "is http:// or https://"),
        ("http://hooks.example:0/", "between 1 and 65535"),
        ("http://hooks.example:65536/", "between 1 and 65535"),
        ("http://user@hooks.example/", "no user name or password"),
        ("http://user:password@hooks.example/", "no user name or password"),
        ("http://@hooks.example/", "no user name or password"),
        ("http://1.1.1.1@@10.0.0.1/", "no user name or password"),
        ("http://hooks.example /", "no spaces"),
        (" http://hooks.example/", "no spaces"),
        ("http://hooks.example/\n", "no spaces"),
        ("http://10.0.\t0.1/", "no spaces"),
        ("http://hooks.example/\x00", "no spaces"),
        ("http://hooks.example/\ud800", "no spaces"),
        ("http://hooks\u200b.example/", "no spaces"),
        ("http://hooks\u3000.example/", "no spaces"),
        ("http://hooks.example\\@10.0.0.1/", "backslashes"),
        ("http:\\\\hooks.example/", "backslashes"),
        ("http://hooks.example/" + "a" * 2048, "at most 2048 characters"),
        ("http://[::1%25eth0]/", "host of the webhook URL is not valid"),
        ("http://[::1%eth0]/", "host of the webhook URL is not valid"),
        ("http://[127.0.0.1]/", "host of the webhook URL is not valid"),
        ("http://[v1.ab]/", "host of the webhook URL is not valid"),
        ("http://[]/", "host of the webhook URL is not valid"),
        ("http://./", "host of the webhook URL is not valid"),
        ("http://hooks..example/", "host of the webhook URL is not valid"),
        ("http://hooks.example../", "host of the webhook URL is not valid"),
        ("http://.hooks.example/", "host of the webhook URL is not valid"),
        ("http://-hooks.example/", "host of the webhook URL is not valid"),
        ("http://hooks-.example/", "host of the webhook URL is not valid"),
        ("http://%31%32%37.0.0.1/", "host of the webhook URL is not valid"),
        ("http://hooks$example/", "host of the webhook URL is not valid"),
        (
            "http://hooks\N{FULLWIDTH COMMERCIAL AT}10.0.0.1/",
            "host of the webhook URL is not valid",
        ),
        ("http://hooks\N{FULLWIDTH SOLIDUS}10.0.0.1/", "host of the webhook URL is not valid"),
        ("http://hooks\N{FULLWIDTH COLON}80/", "host of the webhook URL is not valid"),
        ("http://faß.example/", "host of the webhook URL is not valid"),
        ("http://" + "a" * 64 + ".example/", "host of the webhook URL is not valid"),
        ("http://" + "a.b." * 63 + "cd/", "host of the webhook URL is not valid"),
        ("http://1.2.3.4.5/", "host of the webhook URL is not valid"),
        ("http://1.2.3.256/", "host of the webhook URL is not valid"),
        ("http://256.2.3.4/", "host of the webhook URL is not valid"),
        ("http://1.2.65536/", "host of the webhook URL is not valid"),
        ("http://4294967296/", "host of the webhook URL is not valid"),
        ("http://0x100000000/", "host of the webhook URL is not valid"),
        ("http://08.0.0.1/", "host of the webhook URL is not valid"),
        ("http://1_0.0.0.1/", "host of the webhook URL is not valid"),
        ("http://hooks.1/", "host of the webhook URL is not valid"),
        ("http://0x.1/", "host of the webhook URL is not valid"),
    ],
)
def test_an_ambiguous_or_foreign_url_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_url(text)


def spellings(address: IPv4Address) -> list[str]:
    number = int(address)
    a, b, c, d = address.packed
    return [
        str(address),
        f"{number}",
        f"{number:#x}",
        f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF:#x}",
        f"[::ffff:{address}]",
    ]


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_ipv4_address_is_that_address(address: IPv4Address) -> None:
    assert {parse_host(text) for text in spellings(address)} == {address}


@settings(deadline=None)
@given(st.ip_addresses(v=6))
def test_every_spelling_of_an_ipv6_address_is_that_address(address: IPv6Address) -> None:
    for text in (address.compressed, address.exploded, address.exploded.upper()):
        assert parse_host(f"[{text}]") == unmapped(address)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_host_is_either_read_once_and_for_all_or_refused(text: str) -> None:
    try:
        url = parse_url(f"http://{text}/")
    except ValueError:
        return
    assert str(parse_url(str(url))) == str(url)


def test_only_mapped_addresses_are_unwrapped() -> None:
    assert unmapped(ip_address("::ffff:10.0.0.1")) == ip_address("10.0.0.1")
    assert unmapped(ip_address("2002:a00:1::")) == ip_address("2002:a00:1::")
    assert unmapped(ip_address("10.0.0.1")) == ip_address("10.0.0.1")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/a/b?token=hunter22#x", "https://hooks.example/a/b"),
        ("https://me:hunter22@hooks.example:8443?x", "https://hooks.example:8443/"),
        ("http://[::1]:80/a?b", "http://[::1]:80/a"),
        ("https://hooks.slack.com/services/T0/B0/hunter22", "https://hooks.slack.com/…"),
        ("https://discord.com/api/webhooks/1/hunter22?wait=1", "https://discord.com/…"),
        ("https://ptb.discord.com/api/webhooks/1/hunter22", "https://ptb.discord.com/…"),
        ("https://acme.webhook.office.com/webhookb2/hunter22", "https://acme.webhook.office.com/…"),
        ("nothing hunter22", "(no URL)"),
    ],
)
def test_what_is_shown_of_a_url_has_nothing_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
