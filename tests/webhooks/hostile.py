"""The table of hostile URLs: ways to spell an address that a caller's webhook may not reach."""

# ruff: noqa: RUF001 - letters that look like others are what this is about

from collections.abc import Iterable

# What is not public, in its plain spelling: one of each kind that is reached by IPv4.
_INNER_IPV4 = (
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "100.100.100.200",
    "0.0.0.0",
)
_INNER_IPV6 = (
    "::",
    "::1",
    "fe80::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001:db8::1",
)


def _ipv4_hosts(address: str) -> list[str]:
    a, b, c, d = map(int, address.split("."))
    number = a << 24 | b << 16 | c << 8 | d
    low = f"{a:02x}{b:02x}:{c:02x}{d:02x}"
    wide = str.maketrans("0123456789.", "０１２３４５６７８９．")
    return [
        address,
        f"{address}.",
        # decimal, octal, hexadecimal, mixed
        *(f"{number}", f"0{number:o}", f"{number:#x}", f"{number:#X}", f"0x0000{number:x}"),
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"000{a:o}.{b:#x}.{c}.{d:#x}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        # short forms
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{number & 0xFFFFFF:#o}".replace("0o", "0"),
        # full-width, circled, other full stops, percent-encoding, invisible letters
        address.translate(wide),
        address.replace("1", "①"),
        *(address.replace(".", stop) for stop in ("。", "．", "｡")),
        "".join(f"%{ord(letter):02x}" for letter in address),
        address.replace(".", "%2e"),
        f"{address}%00.hooks.example",
        f"{address}\u200b",
        f"{address[:1]}\u00ad{address[1:]}",
        # mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo, ISATAP
        *(f"[::ffff:{address}]", f"[::ffff:{low}]", f"[0:0:0:0:0:FFFF:{low}]", f"[::{address}]"),
        *(f"[::ffff:0:{address}]", f"[64:ff9b::{address}]", f"[64:ff9b::{low}]"),
        *(f"[64:ff9b:1::{address}]", f"[2002:{low}::1]", f"[2001:0:1:2:3:4:{low}]"),
        *(f"[2606:4700::5efe:{address}]", f"[2606:4700::200:5efe:{address}]"),
        # userinfo and ports
        *(f"hooks.example@{address}", f"user:password@{address}", f"{address}@", f"@{address}"),
        *(f"hooks.example:80@{address}", f"{address}:80", f"{address}:", f"{address}:00080"),
        f"hooks.example\\@{address}",
        # one more number, one too many, too large by a turn
        *(f"{address}.0", f"{number + 2**32}", f"{a + 256}.{b}.{c}.{d}"),
    ]


def _ipv6_hosts(address: str) -> list[str]:
    zones = (f"[{address}%25eth0]", f"[{address}%eth0]", f"[{address}%251]")
    return [f"[{address}]", f"[{address.upper()}]", f"[{address}]:8080", f"x@[{address}]", *zones]


_NAMES = (
    *("localhost", "LocalHost", "localhost.", "localhost:80", "a.localhost", "a.b.localhost."),
    *(
        "ⓛocalhost",
        "ｌｏｃａｌｈｏｓｔ",
        "loc%61lhost",
        "local\u00adhost",
        "ⅼocalhost",
        "metadata",
        "intranet",
    ),
    *("user@localhost", "hooks.example@localhost", "localhost\\.hooks.example", "localhost#.com"),
    *("localhost。", "faß.example", "hooks..example", "hooks.example..", "-hooks.example"),
)

# Other schemes, and texts whose host depends on who reads them.
_TEXTS = (
    *("file:///etc/passwd", "gopher://127.0.0.1:6379/_", "ftp://127.0.0.1/", "dict://127.0.0.1/"),
    *("//127.0.0.1/", "http:127.0.0.1", "http:/127.0.0.1/", "http:///127.0.0.1/", "127.0.0.1"),
    *("http:\\\\127.0.0.1/", "http://\t127.0.0.1/", "http://127.0.0.1\n.example/", "http://"),
    *("ht\ntp://127.0.0.1/", "http://hooks.example:0/", "http://hooks.example:99999/"),
    *("http://[::1", "http://::1/", "http://[::1].example/", "http://[127.0.0.1]/", "http://[]/"),
)


def _urls(hosts: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            url for host in hosts for url in (f"http://{host}/hook", f"HTTPS://{host}?a=b")
        )
    )


HOSTILE_URLS_BY_KIND = {
    "IPv4": _urls(host for address in _INNER_IPV4 for host in _ipv4_hosts(address)),
    "IPv6": _urls(host for address in _INNER_IPV6 for host in _ipv6_hosts(address)),
    "names": _urls(_NAMES),
    "schemes and unclear texts": _TEXTS,
}
HOSTILE_URLS = tuple(url for urls in HOSTILE_URLS_BY_KIND.values() for url in urls)
