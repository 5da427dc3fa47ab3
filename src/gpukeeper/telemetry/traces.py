"""Traces: one request and all that it led to, in the engine, at Novita and in webhooks.

A trace is a tree of spans, one for each piece of work.  What goes on later, or in another
process, finds its place in the tree by the ``traceparent`` (W3C Trace Context) that was stored
with its row.  Traces are off unless the standard variables of OpenTelemetry ask for them; then
nothing here does anything, and its library is not even imported.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit

from gpukeeper.domain.errors import Fault, InvalidConfiguration

Attributes = Mapping[str, str | int]

_PORTS = {"http": 80, "https": 443}


class Side(Enum):
    """Which end of a connection a piece of work is, if it is one of the two."""

    SERVER = "server"
    CLIENT = "client"
    NEITHER = "neither"


class Span(Protocol):
    """A piece of work under way."""

    @property
    def traceparent(self) -> str | None:
        """What its consequences name as their parent; None while traces are off."""

    def describe(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Add what came of it; ``error.type`` among the attributes says that it failed."""


class Traces(Protocol):
    """Takes down what is done; safe to use from any thread.

    No attribute may hold what a caller or a receiver wrote, or a URL: they may hold secrets.
    """

    def span(
        self,
        name: str,
        *,
        side: Side = Side.NEITHER,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Return a span around what is done within it.

        Its parent is the ``traceparent`` that is given, or else the span around it; one that is
        not valid counts as none.
        """

    def after(
        self,
        name: str,
        seconds: float = 0,
        *,
        side: Side = Side.NEITHER,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> str | None:
        """Take down what has just ended and took so long; return its ``traceparent``.

        ``link`` is that of work in another trace of which it is one of many consequences.
        """

    def current(self) -> str | None:
        """Return the ``traceparent`` of the span that is under way here, if there is one."""

    def close(self) -> None:
        """Send what was not sent yet, as far as that goes quickly."""


class _NoSpan:
    traceparent: str | None = None

    def describe(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Forget it."""


_NO_SPAN = nullcontext[Span](_NoSpan())


class _Off:
    def span(
        self,
        name: str,
        *,
        side: Side = Side.NEITHER,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def after(
        self,
        name: str,
        seconds: float = 0,
        *,
        side: Side = Side.NEITHER,
        parent: str | None = None,
        link: str | None = None,
        attributes: Attributes | None = None,
    ) -> str | None:
        return None

    def current(self) -> str | None:
        return None

    def close(self) -> None:
        """There is nothing to send."""


OFF: Traces = _Off()


def server_of(url: str) -> dict[str, str | int]:
    """Return the attributes that name the server of a URL, which may be all that is shown of it."""
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    return {"server.address": parts.hostname or "", "server.port": port}


def open_traces(variables: Mapping[str, str], *, version: str) -> Traces:
    """Return what sends traces as these ``OTEL_*`` variables say; without any, :data:`OFF`.

    Raises InvalidConfiguration where the library is not installed.
    """
    if not variables:
        return OFF
    try:
        from gpukeeper.telemetry import otel
    except ImportError as error:
        message = (
            f"asks for traces, and {error.name} is not installed: "
            "pip install 'gpukeeper[otel]', or unset it"
        )
        raise InvalidConfiguration([Fault(min(variables), message)]) from error
    return otel.start(variables, version=version)
