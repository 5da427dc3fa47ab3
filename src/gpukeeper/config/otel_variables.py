"""Which of OpenTelemetry's standard variables switch traces on, and what cannot be meant."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gpukeeper.domain.errors import Fault

_PREFIX = "OTEL_"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")

_SPOKEN = "http/protobuf"
_NO_URL = "is no URL that begins with http:// or https://"

# Not numbers of this kind, and the library raises, or shows a traceback and takes its own number.
_COUNTS = (
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
)
_LIMIT = re.compile("OTEL_(ATTRIBUTE|SPAN|EVENT|LINK)_[A-Z_]+_LIMIT")
_QUEUE, _BATCH = _COUNTS[2:]
_DEFAULT_COUNTS = {_QUEUE: "2048", _BATCH: "512"}

# Files that the library opens with each batch, and complains of each time.
_FILE = re.compile("OTEL_EXPORTER_OTLP_(TRACES_)?(CERTIFICATE|CLIENT_KEY|CLIENT_CERTIFICATE)")
_CREDENTIALS = re.compile("OTEL_PYTHON_EXPORTER_OTLP_[A-Z_]*CREDENTIAL_PROVIDER")

# What the library understands.  It would log whatever else there is, and headers are credentials.
_HEADER = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ !#-+\--:<-\[\]-~]*")


def select_otel_variables(given: Mapping[str, str]) -> dict[str, str]:
    """Return the ``OTEL_*`` variables if they ask for traces; without such a wish nothing.

    An endpoint or an exporter is a wish, unless the exporter is ``none`` or all is disabled.
    """
    exporter = given.get(_EXPORTER)
    is_disabled = given.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    if is_disabled or not (exporter or any(name in given for name in _ENDPOINTS)):
        return {}
    return {name: text for name, text in given.items() if name.startswith(_PREFIX)}


def find_otel_faults(wish: Mapping[str, str]) -> Iterator[Fault]:
    """Find what of these variables cannot be done; no value is shown that may hold a secret."""
    if wish and wish.get(_EXPORTER, "otlp") != "otlp":
        yield Fault(_EXPORTER, "is neither otlp nor none, the two that are known here")
    for name in _ENDPOINTS:
        if name in wish and (message := _fault_of(wish[name])):
            yield Fault(name, message)
    for name in _PROTOCOLS:
        if wish.get(name, _SPOKEN) != _SPOKEN:
            yield Fault(name, f"is not {_SPOKEN}, which is all that is spoken here")
    for name in _HEADERS:
        items = [item.strip() for item in wish.get(name, "").split(",")]
        if not all(_HEADER.fullmatch(item) for item in items if item):
            yield Fault(name, "is no comma-separated list of name=value")
    yield from _faults_of_counts(wish)
    for name in sorted(wish):
        if _FILE.fullmatch(name) and (cause := _unreadable(wish[name])):
            yield Fault(name, f"names {wish[name]}, which cannot be read ({cause})")
        if _CREDENTIALS.fullmatch(name):
            yield Fault(name, f"is not understood here: credentials belong into {_HEADERS[1]}")


def _faults_of_counts(wish: Mapping[str, str]) -> Iterator[Fault]:
    wrong = {
        name: "is no whole number" if _LIMIT.fullmatch(name) else "is no whole number above 0"
        for name, text in wish.items()
        if (name in _COUNTS and not re.fullmatch("0*[1-9][0-9]{0,8}", text))
        or (_LIMIT.fullmatch(name) and not re.fullmatch("[0-9]{1,9}", text))
    }
    yield from (Fault(name, wrong[name]) for name in sorted(wrong))
    queue, batch = (wish.get(name, _DEFAULT_COUNTS[name]) for name in (_QUEUE, _BATCH))
    if not wrong.keys() & {_QUEUE, _BATCH} and int(batch) > int(queue):
        yield Fault(_BATCH, f"is more than {_QUEUE}, which is {int(queue)}")


def _unreadable(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return error.strerror
    return None


def _fault_of(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        return _NO_URL
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return _NO_URL
    # The library logs the URL that it could not reach.
    if "@" in parts.netloc or parts.query or parts.fragment:
        return f"has more than a host and a path; credentials belong into {_HEADERS[1]}"
    return None
