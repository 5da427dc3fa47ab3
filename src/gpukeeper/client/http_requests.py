"""One question to the service and its answer: addresses, the key, and what counts as an answer."""

import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2

from gpukeeper import http_environment
from gpukeeper.client.problems import (
    InvalidArgument,
    ServiceUnreachable,
    UnusableEnvironment,
    UnusableKey,
    read_json,
    read_problem,
    redact_address,
    unreadable_response,
)
from gpukeeper.contract.health import Health
from gpukeeper.contract.serialization import UNREADABLE, Json
from gpukeeper.domain.errors import NotFound

Result = TypeVar("Result")

# Before an order is sent again: a restart of the service is often over by the last one, and
# somebody whose service is down is told so within a few seconds.
_PAUSES_SECONDS = (0.5, 1.0, 2.0)

_EXAMPLE = "http://127.0.0.1:8080"

# The number before an operating system's sentence tells people nothing.
_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


def open_http(
    base_url: str,
    api_key: str | None,
    *,
    timeout_seconds: float,
    transport: httpx2.BaseTransport | None,
) -> httpx2.Client:
    """Return an HTTP client for the service at ``base_url``.

    Raises InvalidArgument, whose text never holds the key or a password, when the address or the
    key cannot be used.
    """
    url = _address(base_url)
    headers = {"accept": "application/json"}
    if api_key:
        if not (isinstance(api_key, str) and api_key.isascii() and api_key.isprintable()):
            raise UnusableKey("The API key has characters that no key has.")
        headers["authorization"] = f"Bearer {api_key}"
    is_local = _is_loopback(url.host)
    if faults := _find_faults(is_local=is_local, has_tls=url.scheme == "https"):
        raise UnusableEnvironment(faults)
    return httpx2.Client(
        base_url=url,
        headers=headers,
        timeout=timeout_seconds,
        transport=transport,
        # A proxy from the environment cannot reach this machine's own loopback.
        trust_env=not is_local,
        # Reading the trusted certificates takes 40 ms, a fifth of a command, and without TLS
        # none is needed.  A context that has none trusts nobody.
        verify=_trusting_nobody() if is_local and url.scheme == "http" else True,
    )


def request(
    http: httpx2.Client,
    read: Callable[[Json], Result],
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """Ask and read the answer; parameters that are None are left out.

    Raises ServiceUnreachable, or ApiProblem with what the service said.
    """
    response = send(http, method, path, params=params, json=json, headers=headers)
    if not response.is_success:
        raise read_problem(response)
    try:
        return read(read_json(response))
    except UNREADABLE as error:
        raise unreadable_response(response) from error


def request_with_retries(
    http: httpx2.Client,
    read: Callable[[Json], Result],
    method: str,
    path: str,
    *,
    json: Any,
    idempotency_key: str,
    sleep: Callable[[float], None],
) -> Result:
    """Ask, and ask again under the same key when the answer is lost: it happens at most once."""
    headers = {"idempotency-key": idempotency_key}
    may_have_arrived = False
    for pause in _PAUSES_SECONDS:
        try:
            return request(http, read, method, path, json=json, headers=headers)
        except ServiceUnreachable as error:
            may_have_arrived = may_have_arrived or error.may_have_arrived
        sleep(pause)
    try:
        return request(http, read, method, path, json=json, headers=headers)
    except ServiceUnreachable as error:
        if not (may_have_arrived or error.may_have_arrived):
            raise
        raise ServiceUnreachable(
            f"{error.message} It may have been done all the same: repeat it with the "
            f"idempotency key {idempotency_key} and it is done once at most.",
            may_have_arrived=True,
        ) from error


def request_health(http: httpx2.Client, path: str) -> Health:
    """Ask how the service is; an answer of 503 that the service gave itself is one."""
    response = send(http, "GET", path)
    body = read_json(response)
    is_answer = response.is_success or response.status_code == httpx2.codes.SERVICE_UNAVAILABLE
    if not is_answer or not isinstance(body, dict):
        raise read_problem(response) if not response.is_success else unreadable_response(response)
    return Health.read(body)


def request_text(http: httpx2.Client, path: str) -> str:
    """Ask for something that is not JSON."""
    response = send(http, "GET", path)
    if not response.is_success:
        raise read_problem(response)
    return response.text


def send(
    http: httpx2.Client,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """Send one request and return the answer, whatever its status; raises ServiceUnreachable."""
    given = {name: value for name, value in (params or {}).items() if value is not None}
    with translate_network_errors(http):
        return http.request(method, path, params=given, json=json, headers=headers)


@contextmanager
def translate_network_errors(http: httpx2.Client) -> Iterator[None]:
    """Turn what the network does into ServiceUnreachable, and misuse into InvalidArgument."""
    if http.is_closed:
        raise InvalidArgument("This client was closed.")
    try:
        yield
    except httpx2.InvalidURL as error:
        raise InvalidArgument(f"This cannot be asked for: {error}.") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        cause = _ERRNO.sub("", str(error)).rstrip(".") or type(error).__name__
        raise ServiceUnreachable(
            f"No answer from {http.base_url}: {cause}.",
            may_have_arrived=not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout),
        ) from error


def quote_segment(identifier: str) -> str:
    """Return an identifier as one segment of a path; raises NotFound for what cannot be one."""
    # Dots would climb to another route, and nothing at all would name the collection.
    if not isinstance(identifier, str):
        raise InvalidArgument(f"{identifier!r} is no id: it must be a text.")
    if identifier.strip(".") == "":
        raise NotFound(f"There is nothing called '{identifier}'.")
    return quote(identifier, safe="")


def _find_faults(*, is_local: bool, has_tls: bool) -> dict[str, str]:
    """Return what of the environment is heeded on the way to the service and cannot be used."""
    if not is_local:
        # Through a proxy there may be TLS as well, and the library prepares for it.
        return http_environment.find_faults(os.environ)
    return http_environment.find_certificate_faults(os.environ) if has_tls else {}


def _address(text: str) -> httpx2.URL:
    """Return the address of a service; a fault shows none of a password that stands in it."""
    if not isinstance(text, str):
        raise InvalidArgument(f"A {type(text).__name__} is not an address like {_EXAMPLE}.")
    # Whatever stands before an @ may be a password: it is not repeated, not even to refuse it.
    if "@" in text:
        raise InvalidArgument(
            "The address has an @: a user name, a password or a key is no part of it; "
            "give http://host:port, and the key as the API key."
        )
    shown = redact_address(text).strip()
    try:
        url = httpx2.URL(text.strip())
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise InvalidArgument(f"'{shown}' is not an address like {_EXAMPLE}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        is_missing = "://" not in text and bool(text.strip())
        hint = f": write http://{shown}" if is_missing else f" like {_EXAMPLE}"
        raise InvalidArgument(f"'{shown}' is not an address{hint}.")
    if url.query or url.fragment:
        raise InvalidArgument(f"'{shown}' has more than a host, a port and a path.")
    return url


def _trusting_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
