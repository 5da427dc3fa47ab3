"""The one home of OpenTelemetry: it makes the spans and sends them as OTLP over HTTP.

Imported only when traces are on; what is asked of it is said in :mod:`gpukeeper.telemetry.traces`.
"""

import os
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gpukeeper.telemetry.logs import log_context
from gpukeeper.telemetry.traces import Attributes, Side, Span, Traces

# A collector that is there takes what is left in milliseconds; the end of the process has ten
# seconds, of which the drain may take nine.
_LAST_BATCH_SECONDS = 1.0

_HEADER = "traceparent"
_ERROR = "error.type"
_NANOSECONDS = 1_000_000_000

_KINDS = {
    Side.SERVER: trace.SpanKind.SERVER,
    Side.CLIENT: trace.SpanKind.CLIENT,
    Side.NEITHER: trace.SpanKind.INTERNAL,
}

# Its tracestate is left out on both sides: what a caller writes there is nobody else's business.
_W3C = TraceContextTextMapPropagator()


def start(variables: Mapping[str, str], *, version: str) -> Traces:
    """Return traces that are sent from a thread of their own, as the ``OTEL_*`` variables say."""
    # The library reads all of them by itself, and from nowhere else.
    os.environ.update(variables)
    return SentTraces(BatchSpanProcessor(OTLPSpanExporter()), version=version)


class SentTraces:
    """Traces that a processor of OpenTelemetry's is given."""

    def __init__(self, processor: SpanProcessor, *, version: str) -> None:
        # What the operator says of this process stands above what we say.
        about = {"service.name": "gpukeeper", "service.version": version}
        said = OTELResourceDetector().detect().attributes
        resource = Resource.create({**about, **said})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("gpukeeper", version)

    def span(
        self,
        name: str,
        *,
        side: Side = Side.NEITHER,
        parent: str | None = None,
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Return a span around what is done within it; log lines in it name its trace."""
        span = self._tracer.start_span(
            name, context=_context(parent), kind=_KINDS[side], attributes=attributes
        )
        return _SpanUnderWay(span)

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
        """Take down what has just ended and took so long; return its ``traceparent``."""
        ended_at = time.time_ns()
        span = self._tracer.start_span(
            name,
            context=_context(parent),
            kind=_KINDS[side],
            attributes=attributes,
            links=[trace.Link(_spoken(link))] if link else None,
            start_time=ended_at - int(seconds * _NANOSECONDS),
        )
        _judge(span, attributes or {})
        span.end(ended_at)
        return _traceparent(span)

    def current(self) -> str | None:
        """Return the ``traceparent`` of the span that is under way here, if there is one."""
        return _traceparent(trace.get_current_span())

    def close(self) -> None:
        """Send what was not sent yet, as far as that goes quickly."""
        # The library would try for half a minute to reach a collector that is away.
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_BATCH_SECONDS)


class _SpanUnderWay:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        self._around: tuple[AbstractContextManager[Any], ...] = (
            trace.use_span(
                span, end_on_exit=True, record_exception=False, set_status_on_exception=False
            ),
            log_context(trace_id=trace_id),
        )

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span)

    def describe(self, attributes: Attributes, *, name: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if name is not None:
            self._span.update_name(name)
        _judge(self._span, attributes)

    def __enter__(self) -> Span:
        for each in self._around:
            each.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            # By its name alone: what an error says may hold what no span may.
            self.describe({_ERROR: kind.__name__})
        for each in reversed(self._around):
            each.__exit__(None, None, None)


def _judge(span: trace.Span, attributes: Attributes) -> None:
    if _ERROR in attributes:
        span.set_status(trace.StatusCode.ERROR)


def _context(traceparent: str | None) -> Context | None:
    """Return the place that a ``traceparent`` names; None, the place where we are, without."""
    return None if traceparent is None else _W3C.extract({_HEADER: traceparent}, Context())


def _spoken(traceparent: str) -> trace.SpanContext:
    return trace.get_current_span(_context(traceparent)).get_span_context()


def _traceparent(span: trace.Span) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier.get(_HEADER)
