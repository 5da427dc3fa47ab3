"""Tell requests of our own pages and of programs from those that foreign web pages have sent.

A browser adds what it knows of the page that asks: ``Origin`` to every change, ``Sec-Fetch-Site``
wherever the connection cannot be listened to.  No page can forge either.
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from gpukeeper.domain.errors import Unauthorized
from gpukeeper.web.body import check_json_type, is_json

# All of it: what programs take apart in different ways, such as a user name, leads nowhere.
_PLACE = re.compile(r"(\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(:[0-9]{1,5})?")
_SCHEME = re.compile("^https?://", re.IGNORECASE)

# Methods that change nothing, and so are no use to a foreign page that has them sent.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def check_loopback(headers: Headers, method: str) -> None:
    """Refuse what a foreign web page could have a browser on this machine send.

    Such a page may let its own name lead to this machine, which shows in the Host header, or send
    to a local name, which shows in the Origin header.  What it can send without asking us first
    is never JSON.  Raises Unauthorized, and ``unsupported_media_type`` for what a program sends.
    """
    if not _is_loopback(headers.get("host", "")):
        raise Unauthorized(
            "Without GPUKEEPER_API_KEYS, requests must be addressed to localhost or 127.0.0.1."
        )
    is_foreign = "origin" in headers and not _is_loopback(_SCHEME.sub("", headers["origin"]))
    # Following a link is no harm, and a navigation shows its answer to nobody else.
    is_link = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if is_foreign or (headers.get("sec-fetch-site") == "cross-site" and not is_link):
        raise Unauthorized("Without GPUKEEPER_API_KEYS, other web pages may not send requests.")
    if method in SAFE_METHODS or is_same_origin(headers):
        return
    if _is_from_a_page(headers) and not is_json(headers):
        raise Unauthorized(
            "Without GPUKEEPER_API_KEYS, a web page that changes something must send it with "
            "'Content-Type: application/json', even if its body is empty."
        )
    # Browsers too old to name the page still name the type of what its forms send.
    check_json_type(headers)


def check_same_origin(headers: Headers) -> None:
    """Refuse a change that a foreign page asks for with the dashboard's cookie.

    Raises Unauthorized.
    """
    if not is_same_origin(headers):
        raise Unauthorized("Changes made with the dashboard's cookie must come from its own pages.")


def check_not_foreign(headers: Headers) -> None:
    """Refuse what a foreign page has sent, and let programs pass, which are no browsers.

    Raises Unauthorized.
    """
    if _is_from_a_page(headers) and not is_same_origin(headers):
        raise Unauthorized("Only the service's own pages may send this.")


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser says that one of our own pages has sent a request."""
    # A proxy may have changed the Host header that Origin is compared with.
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] == "same-origin"
    origin = _netloc(headers.get("origin", ""))
    return origin != "" and origin == headers.get("host", "")


def is_from_https(headers: Headers) -> bool:
    """Whether a browser says that it sent a form from a page that came over https."""
    return headers.get("origin", "").startswith("https://")


def _is_from_a_page(headers: Headers) -> bool:
    """Whether a browser says that it sent this; it leaves neither header out of a change."""
    return "origin" in headers or "sec-fetch-site" in headers


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _is_loopback(place: str) -> bool:
    """Whether a host and port, as they stand in Host and Origin, are this machine's."""
    found = _PLACE.fullmatch(place)
    if found is None:
        return False
    host = found["address"] or found["name"]
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
