"""Traces that stay in memory or go to a collector, and how a test reads them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from gpukeeper.telemetry import tracing

CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
CALLERS = f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"


@dataclass(slots=True)
class Recording:
    """What was traced so far."""

    _exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def begin(self) -> None:
        """Record every span from now on; each call stands for another process."""
        tracing.export_to(SimpleSpanProcessor(self._exporter), version="0.1.0")

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> ReadableSpan:
        """Return the one span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def way_to(self, span: ReadableSpan) -> list[str]:
        """Return the names of all spans from the outermost one to this."""
        by_id = {place_of(each): each for each in self.spans}
        way = [span.name]
        while (
            span.parent is not None and (parent := (trace_of(span), span.parent.span_id)) in by_id
        ):
            span = by_id[parent]
            way.insert(0, span.name)
        return way

    def ways(self) -> list[list[str]]:
        """Return the way to every span."""
        return [self.way_to(span) for span in self.spans]

    @property
    def text(self) -> str:
        """Everything that would leave the process."""
        return "".join(span.to_json() for span in self.spans)


def trace_of(span: ReadableSpan) -> str:
    """Return the id of the trace that a span belongs to."""
    return f"{_context(span).trace_id:032x}"


def place_of(span: ReadableSpan) -> tuple[str, int]:
    """Return what identifies a span."""
    return trace_of(span), _context(span).span_id


def traceparent_of(span: ReadableSpan) -> str:
    """Return what the consequences of a span name as their parent."""
    flags = _context(span).trace_flags
    return f"00-{trace_of(span)}-{_context(span).span_id:016x}-{flags:02x}"


def _context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Batch:
    """One request to a collector; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Collector:
    """What a collector got so far."""

    url: str
    batches: list[Batch] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        """Every span, in the order in which they came."""
        requests = [ExportTraceServiceRequest.FromString(batch.body) for batch in self.batches]
        resources = [resource for request in requests for resource in request.resource_spans]
        scopes = [scope for resource in resources for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]


@contextmanager
def collecting() -> Iterator[Collector]:
    """Give a collector that speaks OTLP over HTTP on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            collector.batches.append(Batch(self.path, headers, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
