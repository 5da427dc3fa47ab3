"""Spans find their place by what was stored, and say nothing of what an error said."""

import asyncio
import io
import json
import os
import subprocess
import sys

import pytest
from opentelemetry.trace import SpanKind

from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.telemetry import configure_logging, get_logger, shut_down_logging, tracing
from tests.telemetry.collector import (
    CALLERS,
    CALLERS_SPAN,
    CALLERS_TRACE,
    Recording,
    collecting,
    trace_of,
    traceparent_of,
)

# The discard port: nothing listens there.
NOWHERE = "http://127.0.0.1:9"
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def test_a_span_hangs_on_the_place_that_is_given(recording: Recording) -> None:
    with tracing.start_span("buy", parent=CALLERS, attributes={"a": 1}):
        pass

    span = recording.named("buy")
    assert trace_of(span) == CALLERS_TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLERS_SPAN
    assert dict(span.attributes or {}) == {"a": 1}
    assert span.status.is_unset


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        f"{CALLERS}-more",
        CALLERS * 1000,
        "00-\u00e9bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ],
)
def test_a_place_that_is_none_begins_a_trace(recording: Recording, parent: str) -> None:
    with tracing.start_span("buy", parent=parent):
        assert tracing.current_traceparent() is not None

    assert recording.named("buy").parent is None
    assert trace_of(recording.named("buy")) != CALLERS_TRACE


def test_what_is_done_within_a_span_hangs_on_it_in_every_task(recording: Recording) -> None:
    async def ask() -> None:
        tracing.record_span("GET /a", 0.5, kind=SpanKind.CLIENT)

    async def work() -> None:
        with tracing.start_span("buy"):
            await asyncio.gather(ask(), ask())

    asyncio.run(work())

    assert tracing.current_traceparent() is None
    assert recording.ways() == [["buy", "GET /a"]] * 2 + [["buy"]]
    asked = recording.spans[0]
    assert asked.kind is SpanKind.CLIENT
    assert asked.end_time is not None
    assert asked.start_time is not None
    assert asked.end_time - asked.start_time == 500_000_000


def test_what_follows_hangs_on_what_a_span_said_before_it_ended(recording: Recording) -> None:
    with tracing.start_span("buy"):
        place = tracing.current_traceparent()
    assert place == traceparent_of(recording.named("buy"))

    with tracing.start_span("webhook", parent=place):
        pass
    assert recording.way_to(recording.named("webhook")) == ["buy", "webhook"]


def test_one_of_many_consequences_links_to_their_cause(recording: Recording) -> None:
    with tracing.start_span("look"):
        place = tracing.record_span("see", parent=CALLERS, link=tracing.current_traceparent())

    seen = recording.named("see")
    assert traceparent_of(seen) == place
    assert trace_of(seen) == CALLERS_TRACE
    (link,) = seen.links
    assert f"{link.context.trace_id:032x}" == trace_of(recording.named("look"))


def test_an_error_is_named_and_not_quoted(recording: Recording) -> None:
    def fail() -> None:
        with tracing.start_span("buy"):
            raise ValueError("canary")

    with pytest.raises(ValueError, match="canary"):
        fail()
    tracing.record_span("GET /a", attributes={"error.type": "NovitaTimeout"})

    assert [(span.attributes or {})["error.type"] for span in recording.spans] == [
        "ValueError",
        "NovitaTimeout",
    ]
    assert not any(span.status.is_ok or span.status.is_unset for span in recording.spans)
    assert "canary" not in recording.text


def test_a_span_may_learn_its_name_when_it_ends(recording: Recording) -> None:
    with tracing.start_span("GET") as span:
        tracing.describe(span, {"http.route": "/a"}, name="GET /a")
        tracing.describe(span, {"error.type": "500"})

    assert dict(recording.named("GET /a").attributes or {}) == {
        "http.route": "/a",
        "error.type": "500",
    }


def test_what_is_not_sampled_is_not_sampled_further_on(recording: Recording) -> None:
    with tracing.start_span("buy", parent=CALLERS.removesuffix("01") + "00"):
        place = tracing.current_traceparent()

    assert place is not None
    assert place.startswith(f"00-{CALLERS_TRACE}-")
    assert place.endswith("-00")
    assert recording.spans == []


def test_log_lines_within_a_span_name_its_trace(recording: Recording) -> None:
    stream = io.StringIO()
    configure_logging("info", format="json", stream=stream)
    try:
        with tracing.start_span("buy", parent=CALLERS):
            get_logger("test").info("within")
        get_logger("test").info("after")
    finally:
        shut_down_logging()

    within, after = map(json.loads, stream.getvalue().splitlines())
    assert within["trace_id"] == CALLERS_TRACE
    assert "trace_id" not in after


def test_the_operator_says_what_the_process_is_called(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracing.start_span("plain"):
        pass
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gpus")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    recording.begin()
    with tracing.start_span("told"):
        pass

    plain, told = (dict(span.resource.attributes) for span in recording.spans)
    assert (plain["service.name"], plain["service.version"]) == ("gpukeeper", "0.1.0")
    assert (told["service.name"], told["service.version"]) == ("gpus", "0.1.0")
    assert told["deployment.environment.name"] == "test"


def test_traces_that_nobody_asked_for_do_nothing() -> None:
    tracing.start_export({}, version="0.1.0")

    with tracing.start_span("buy") as span:
        tracing.describe(span, {"a": 1})
        assert not span.is_recording()
        assert tracing.current_traceparent() is None
    assert tracing.record_span("GET /a") is None
    tracing.stop_export()


def test_a_library_that_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXPORTER, None)

    with pytest.raises(InvalidConfiguration) as refusal:
        tracing.start_export({"OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE}, version="0.1.0")

    (fault,) = refusal.value.faults
    assert fault.field == "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert f"{EXPORTER} is not installed" in fault.message
    assert "pip install 'gpukeeper[otel]'" in fault.message


def test_without_traces_their_library_is_not_imported() -> None:
    program = (
        "import sys, gpukeeper.process; from gpukeeper.telemetry import tracing; "
        "tracing.start_export({}, version='0'); print([name for name in sys.modules "
        "if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter', 'requests'))])"
    )
    environ = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )

    assert done.stdout == "[]\n"


def test_spans_are_sent_as_the_standard_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that what is put there is gone afterwards.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with collecting() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret",
        }
        tracing.start_export(variables, version="0.1.0")
        with tracing.start_span("buy", parent=CALLERS):
            pass
        tracing.stop_export()

    (batch,) = collector.batches
    assert (batch.path, batch.headers["api-key"]) == ("/v1/traces", "s3cret")
    (span,) = collector.spans
    assert (span.name, span.trace_id.hex()) == ("buy", CALLERS_TRACE)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.novita.ai", "api.novita.ai", 443),
        ("http://user:canary@hooks.example/canary?canary#canary", "hooks.example", 80),
        ("http://[::1]:8080/", "::1", 8080),
    ],
)
def test_of_a_url_its_server_alone_is_shown(url: str, host: str, port: int) -> None:
    assert tracing.server_attributes(url) == {"server.address": host, "server.port": port}
