"""Turn the text of a setting into its value.

Every function raises :class:`ValueError` with the sentence that the operator reads after the name
of the variable; no sentence repeats the text, which may be a secret.
"""

import math
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from gpukeeper.webhooks.signing import parse_secret
from gpukeeper.webhooks.urls import parse_url

# Shorter keys can be guessed by trying.
MIN_API_KEY_CHARACTERS = 16

# What AES-256-GCM is keyed with, by which stored values are encrypted.
SECRET_KEY_BYTES = 32

# Longer than anything is kept, and short enough to be counted back from any date.
MAX_DAYS = 9999

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_POSTGRES = frozenset({"postgresql", "postgres"})
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# In a path below these, nobody could tell whether a proxy has taken the root path off.
OWN_PATHS = frozenset(
    {
        *("api", "deliveries", "docs", "health", "instances", "login", "logout", "metrics"),
        *("openapi.json", "order", "orphans", "problems", "static", "status", "trends"),
    }
)
# A part of dots alone would be taken for a way up; nothing here needs an escape in a link.
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
_MAX_ROOT_PATH = 200
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers between ``low`` and ``high``."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number between {low} and {high}")
        return int(text)

    return parse


def seconds(*, zero: str = "") -> Callable[[str], timedelta]:
    """Return a parser of durations in seconds; ``zero`` says what 0 means where it is allowed."""
    return _duration("seconds", timedelta(seconds=1), example="30 or 0.5", zero=zero)


def days(*, zero: str = "") -> Callable[[str], timedelta]:
    """Return a parser of durations in days; ``zero`` says what 0 means where it is allowed."""
    return _duration("days", timedelta(days=1), example="90 or 0.5", zero=zero, most=MAX_DAYS)


def rate(text: str) -> float:
    """Read a number of calls per second."""
    if not _NUMBER.fullmatch(text) or float(text) == 0:
        raise ValueError("must be a number of calls per second above 0, such as 10 or 0.5")
    return float(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser of one of ``words``, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {', '.join(words[:-1])} or {words[-1]}")
        return text.lower()

    return parse


def host(text: str) -> str:
    """Read an address to listen on, or a host name."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ip_address(bare))
    except ValueError:
        if _HOST_NAME.fullmatch(text):
            return text.lower()
    raise ValueError("must be an IP address or a host name, such as 127.0.0.1 or 0.0.0.0")


def is_loopback(name: str) -> bool:
    """Say whether a host, as :func:`host` returns it, can be reached from this machine only."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def directory(text: str) -> Path:
    """Read the path of a directory; ``~`` is the user's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("must be a path; there is no such user's home directory") from error


def region(text: str) -> str:
    """Read the name or the cluster id of a Novita region."""
    if len(text) > 64 or not text.isprintable():
        raise ValueError("must be a region's name or cluster id of at most 64 characters")
    return text


def base_url(text: str) -> str:
    """Read the URL that API paths are appended to; a slash at its end is removed."""
    problem = "must be an http:// or https:// URL such as https://api.novita.ai"
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(problem) from error
    if not is_whole or not _VISIBLE_ASCII.fullmatch(text) or set("@?#") & set(text):
        raise ValueError(problem)
    return text.rstrip("/")


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read a comma-separated list of addresses and networks; an address is a network of one."""
    try:
        return tuple(ip_network(item.removeprefix("[").removesuffix("]")) for item in _items(text))
    except ValueError as error:
        raise ValueError(
            "must be addresses or networks such as 192.168.1.5, 10.0.0.0/8 or fd00::/8, "
            "comma-separated, each network with its first address"
        ) from error


def root_path(text: str) -> str:
    """Read the path under which a proxy serves the service; a slash at its end is removed."""
    bare = text.rstrip("/")
    if not text.startswith("/") or not _ROOT_PATH.fullmatch(bare) or len(bare) > _MAX_ROOT_PATH:
        raise ValueError(
            "must be a path such as /gpukeeper: a slash first, then letters, digits, '-', '_', "
            "'~' or '.', and no part that is '.' or '..'"
        )
    first = bare.split("/")[1] if bare else ""
    if first in OWN_PATHS:
        raise ValueError(f"must not begin with /{first}, which is a path of the service's own")
    return bare


def webhook_urls(text: str) -> tuple[str, ...]:
    """Read a comma-separated list of http or https URLs; a repeated one counts once."""
    items = _items(text)
    hint = "commas separate URLs, and a comma within one is written %2C"
    # An address within a query and a comma behind it: is that a list, or another receiver?
    if any("://" in item.partition("://")[2] for item in items[:-1]):
        raise ValueError(f"may be read in two ways: {hint}; or give the URLs in another order")
    try:
        return tuple(dict.fromkeys(str(parse_url(url)) for url in items))
    except ValueError as error:
        raise ValueError(f"{error}{f' ({hint})' if len(items) > 1 else ''}") from error


def token(text: str) -> SecretStr:
    """Read a secret that is sent in an HTTP header."""
    if not _VISIBLE_ASCII.fullmatch(text):
        raise ValueError("must consist of letters, digits and signs without spaces")
    return SecretStr(text)


def api_keys(text: str) -> tuple[SecretStr, ...]:
    """Read a comma-separated list of bearer keys; there is at least one."""
    keys = tuple(map(token, _items(text)))
    if not keys or any(len(key.get_secret_value()) < MIN_API_KEY_CHARACTERS for key in keys):
        raise ValueError(
            f"each key must have at least {MIN_API_KEY_CHARACTERS} characters; "
            "'openssl rand -hex 24' makes a good one"
        )
    return keys


def webhook_secrets(text: str) -> tuple[SecretStr, ...]:
    """Read one webhook secret, or two while rotating."""
    found = tuple(map(parse_secret, _items(text)))
    if len(found) not in {1, 2}:
        raise ValueError("must be one secret, or two while rotating")
    return found


def secret_key(text: str) -> SecretStr:
    """Read a key for encrypting and signing: 32 bytes in URL-safe base64."""
    if not re.fullmatch("[A-Za-z0-9_-]{43}=?", text):
        raise ValueError(
            f"must be {SECRET_KEY_BYTES} bytes in URL-safe base64 (44 characters); "
            "leave it empty to have one generated"
        )
    return SecretStr(text[:43] + "=")


def database_url(text: str) -> SecretStr:
    """Read the URL of a PostgreSQL database or a SQLite file.

    ``postgresql://user:password@host/database``, ``sqlite:///file`` or ``sqlite:////absolute/file``.
    """
    scheme, _, rest = text.partition(":")
    if scheme in _POSTGRES:
        return _postgres_url(text)
    if scheme != "sqlite":
        raise ValueError(
            "must be postgresql://user:password@host/database or sqlite:///path/to/file, "
            "or empty for SQLite in the data directory"
        )
    path = rest.removeprefix("///")
    if path in {"", rest} or path.startswith(":memory:") or "?" in path:
        raise ValueError("must name a file: sqlite:///path/to/file")
    return SecretStr(text)


def sqlite_path(url: SecretStr) -> Path:
    """Return the file that a SQLite URL read by :func:`database_url` names."""
    return Path(url.get_secret_value().removeprefix("sqlite:///"))


def is_postgres(url: SecretStr) -> bool:
    """Whether a URL read by :func:`database_url` names a PostgreSQL database."""
    return url.get_secret_value().partition(":")[0] in _POSTGRES


def shown_postgres(url: SecretStr) -> str:
    """Return the host and the database of a PostgreSQL URL, without user and password."""
    parts = urlsplit(url.get_secret_value())
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _postgres_url(text: str) -> SecretStr:
    problem = "must be postgresql://user:password@host/database"
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(problem) from error
    has_host = bool(parts.netloc.rpartition("@")[2]) or "host=" in parts.query
    # An unescaped slash in the password would end the host, and what is shown would be the rest.
    is_torn = "@" in parts.path + parts.query
    if not has_host or not parts.path.strip("/") or parts.fragment or is_torn:
        raise ValueError(problem)
    if not _VISIBLE_ASCII.fullmatch(text) or _BROKEN_ESCAPE.search(text):
        raise ValueError(f"{problem}, with special characters as %20 and the like")
    return SecretStr(text)


def _duration(
    unit: str, one: timedelta, *, example: str, zero: str, most: float = math.inf
) -> Callable[[str], timedelta]:
    def parse(text: str) -> timedelta:
        is_number = _NUMBER.fullmatch(text) and float(text) <= most
        if is_number and (float(text) > 0 or zero):
            return float(text) * one
        hint = f" (0 {zero})" if zero else " above 0"
        limit = "" if math.isinf(most) else f" of at most {most:g}"
        raise ValueError(f"must be a number of {unit}{limit}{hint}, such as {example}")

    return parse


def _items(text: str) -> list[str]:
    """Split at commas, and at line ends because secret files are often written that way."""
    return [item for item in map(str.strip, re.split("[,\n]", text)) if item]
