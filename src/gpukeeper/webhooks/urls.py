"""Read a webhook's URL, with its host in whatever spelling, into one normal form.

Programs differ in what they make of odd URLs, and such differences are how a guard is passed by.
What is ambiguous is refused here; what is left has one meaning, and is written down as that.
"""

import re
import string
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

Address = IPv4Address | IPv6Address

# Longer than any receiver's URL, short enough for every proxy and log line on the way.
MAX_URL_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<user>[^/?#]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:\[\]]+)"
    r"(:(?P<port>[0-9]{0,5}))?(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(#.*)?",
    re.IGNORECASE | re.ASCII,
)
_LABEL = "[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile("0x[0-9a-f]+|[0-9]+")

# DNS limits a whole name to this; the "idna" codec limits each label.
_MAX_NAME_LENGTH = 253


# Receivers whose path is the secret that lets anybody post there.
_SECRET_PATHS = re.compile(
    r"(hooks\.slack(-gov)?\.com|(.+\.)?discord(app)?\.com|.+\.webhook\.office\.com"
    r"|.+\.logic\.azure\.com|chat\.googleapis\.com|api\.telegram\.org|hooks\.zapier\.com"
    r"|(.+\.)?pipedream\.net|maker\.ifttt\.com|.+\.make\.com)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of an http or https URL; ``host`` is an address wherever the text spells one.

    ``path`` holds the query as well.
    """

    scheme: str
    host: str | Address
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def parse_url(text: str) -> Url:
    """Read a URL; raises :class:`ValueError` with a sentence for the one who gave it."""
    if len(text) > MAX_URL_LENGTH:
        raise ValueError(f"A webhook URL has at most {MAX_URL_LENGTH} characters.")
    # What is read differently by different programs: control, invisible and odd space characters,
    # and the backslash, which browsers take for a slash.
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("A webhook URL has no spaces, control characters or backslashes.")
    parts = _URL.fullmatch(text)
    if parts is None:
        raise ValueError("A webhook URL is http:// or https://, a host, and a path.")
    if parts["user"] is not None:
        raise ValueError("A webhook URL has no user name or password.")
    scheme = parts["scheme"].lower()
    port = int(parts["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise ValueError("The port of a webhook URL is between 1 and 65535.")
    try:
        host = parse_host(parts["host"])
    except ValueError as error:
        raise ValueError("The host of the webhook URL is not valid.") from error
    # Only what is not ASCII is encoded: everything else stays as the caller wrote it.
    path = quote((parts["path"] or "/") + (parts["query"] or ""), safe=string.punctuation)
    return Url(scheme=scheme, host=host, port=port, path=path)


def shown_url(text: str) -> str:
    """Return what a log may say of a URL: no user name, password or query, which may be secret.

    Of receivers whose path is a secret, the path is left out too.  What is no URL is not shown.
    """
    parts = _URL.fullmatch(text)
    if parts is None:
        return "(no URL)"
    port = "" if parts["port"] is None else f":{parts['port']}"
    path = "/…" if _SECRET_PATHS.fullmatch(parts["host"]) else parts["path"] or "/"
    return f"{parts['scheme']}://{parts['host']}{port}{path}"


def parse_host(text: str) -> str | Address:
    """Read an address as ``inet_aton`` does (IPv6 in brackets), or a name as IDNA does.

    A name is returned in lower-case ASCII without a dot at its end.  Raises :class:`ValueError`.
    """
    if text.startswith("["):
        address = IPv6Address(text.strip("[]"))
        if address.scope_id is not None:
            raise ValueError("a zone belongs to one machine")
        return unmapped(address)
    # NFKC turns full-width and circled digits into digits; the ideographic full stop is a dot.
    name = unicodedata.normalize("NFKC", text).replace("。", ".").lower().removesuffix(".")
    encoded = name.encode("idna").decode("ascii")
    if not name.isascii() and encoded.encode().decode("idna") != name:
        # The standards of 2003 and 2008 differ here (ß is ss, or not): two owners, one spelling.
        raise ValueError("write it in its xn-- form")
    if len(encoded) > _MAX_NAME_LENGTH or not _NAME.fullmatch(encoded):
        raise ValueError("not a host name")
    is_number = _NUMBER.fullmatch(encoded.rpartition(".")[2])
    return _ipv4(encoded) if is_number else encoded


def unmapped(address: Address) -> Address:
    """Unwrap an IPv4-mapped address: connecting to it reaches the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _ipv4(text: str) -> IPv4Address:
    """Read one to four decimal, octal or hexadecimal numbers; the last fills what is left."""
    numbers = [_number(part) for part in text.split(".")]
    *firsts, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in firsts):
        raise ValueError("not an IPv4 address")
    if last >= 256 ** (4 - len(firsts)):
        raise ValueError("not an IPv4 address")
    return IPv4Address(int.from_bytes(bytes(firsts).ljust(4, b"\0")) + last)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)
