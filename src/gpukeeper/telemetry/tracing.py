"""Traces: one request and all that it led to, in the engine, at Novita and in webhooks.

A trace is a tree of spans, one for each piece of work.  Work that goes on later, or in another
process, finds its place in the tree by the ``traceparent`` (W3C Trace Context) that was stored
with its row.  Traces are off until :func:`start_export`: then a span is OpenTelemetry's invalid
one, which does nothing.  Safe to use from any thread.

No attribute may hold text of a caller or of a receiver, or a URL: they may hold secrets.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gpukeeper.domain.errors import Fault, InvalidConfiguration
from gpukeeper.telemetry.logs import log_context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

__all__ = [
    "NO_SPAN",
    "Attributes",
    "Span",
    "SpanKind",
    "current_traceparent",
    "describe",
    "export_to",
    "record_span",
    "server_attributes",
    "start_export",
    "start_span",
    "stop_export",
]

Attributes = Mapping[str, str | int]

# Work that is not to be traced at all.
NO_SPAN = nullcontext(trace.INVALID_SPAN)

# A collector that is there takes the last batch in milliseconds; the end of the process has ten
# seconds, of which the drain may take nine.
_LAST_BATCH_SECONDS = 1.0

_HEADER = "traceparent"
_ERROR = "error.type"
_NANOSECONDS = 1_000_000_000
_PORTS = {"http": 80, "https": 443}

# Its tracestate is left out on both sides: what a caller writes there is nobody else's business.
_W3C = TraceContextTextMapPropagator()

# Ours and not the library's global provider, which can be set only once in a process, and through
# which FastAPI would send spans of its own, with the paths of requests in them.
_provider: "TracerProvider | None" = None
_tracer: trace.Tracer | None = None


def start_export(variables: Mapping[str, str], *, version: str) -> None:
    """Send spans from now on, from a thread of their own, as these ``OTEL_*`` variables say.

    Without any variables traces stay off, and the library that sends them is not imported.
    Raises InvalidConfiguration where it is not installed.
    """
    if not variables:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        message = (
            f"asks for traces, and {error.name} is not installed: "
            "pip install 'gpukeeper[otel]', or unset it"
        )
        raise InvalidConfiguration([Fault(min(variables), message)]) from error
    # The library reads all of them by itself, and from nowhere else.
    os.environ.update(variables)
    export_to(BatchSpanProcessor(OTLPSpanExporter()), version=version)


def export_to(processor: "SpanProcessor", *, version: str) -> None:
    """Give every span from now on to a processor of OpenTelemetry's."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider

    global _provider, _tracer
    # What the operator says of this process stands above what we say.
    about = {"service.name": "gpukeeper", "service.version": version}
    resource = Resource.create({**about, **OTELResourceDetector().detect().attributes})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("gpukeeper", version)


def stop_export() -> None:
    """Send the spans that were not sent yet, as far as that goes quickly; idempotent."""
    global _provider, _tracer
    if _provider is not None:
        # The library would try for half a minute to reach a collector that is away.
        last = threading.Thread(target=_provider.shutdown, daemon=True)
        _provider = _tracer = None
        last.start()
        last.join(_LAST_BATCH_SECONDS)


def start_span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """Return a span around the work within it; log lines in it name its trace.

    Its parent is the ``traceparent`` that is given, or else the span around it; one that is not
    valid counts as none.
    """
    return NO_SPAN if _tracer is None else _open_span(_tracer, name, kind, parent, attributes)


def describe(span: Span, attributes: Attributes, *, name: str | None = None) -> None:
    """Add the outcome of the work; ``error.type`` among the attributes says that it failed."""
    span.set_attributes(attributes)
    if name is not None:
        span.update_name(name)
    if _ERROR in attributes:
        span.set_status(trace.StatusCode.ERROR)


def record_span(
    name: str,
    seconds: float = 0,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    link: str | None = None,
    attributes: Attributes | None = None,
) -> str | None:
    """Record work that has just ended and took so long; return its ``traceparent``.

    ``link`` is that of work in another trace of which it is one of many consequences.
    """
    if _tracer is None:
        return None
    ended_at = time.time_ns()
    span = _tracer.start_span(
        name,
        context=_context(parent),
        kind=kind,
        links=[trace.Link(_span_context(link))] if link else None,
        start_time=ended_at - int(seconds * _NANOSECONDS),
    )
    describe(span, attributes or {})
    span.end(ended_at)
    return _traceparent(span)


def current_traceparent() -> str | None:
    """Return the ``traceparent`` of the span that is under way here, if there is one."""
    return None if _tracer is None else _traceparent(trace.get_current_span())


def server_attributes(url: str) -> dict[str, str | int]:
    """Return the attributes that name the server of a URL, which may be all that is shown of it."""
    parts = urlsplit(url)
    port = parts.port or _PORTS[parts.scheme]
    return {"server.address": parts.hostname or "", "server.port": port}


@contextmanager
def _open_span(
    tracer: trace.Tracer,
    name: str,
    kind: SpanKind,
    parent: str | None,
    attributes: Attributes | None,
) -> Iterator[Span]:
    span = tracer.start_span(name, context=_context(parent), kind=kind, attributes=attributes)
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    with ExitStack() as around:
        around.enter_context(
            trace.use_span(
                span, end_on_exit=True, record_exception=False, set_status_on_exception=False
            )
        )
        around.enter_context(log_context(trace_id=trace_id))
        around.push(partial(_describe_error, span))
        yield span


def _describe_error(span: Span, kind: type[BaseException] | None, *_: object) -> None:
    """Record an error by its name alone: its message may hold a secret."""
    if kind is not None:
        describe(span, {_ERROR: kind.__name__})


def _context(traceparent: str | None) -> Context | None:
    """Return the place that a ``traceparent`` names; None, the place where we are, without."""
    return None if traceparent is None else _W3C.extract({_HEADER: traceparent}, Context())


def _span_context(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_context(traceparent)).get_span_context()


def _traceparent(span: Span) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(_HEADER)
