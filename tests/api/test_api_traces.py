"""What a request leaves in a trace: its route and its status, and nothing that its caller wrote."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry.trace import SpanKind

from tests.api.conftest import connected
from tests.api.double import ServiceDouble
from tests.telemetry.collector import CALLERS, CALLERS_SPAN, CALLERS_TRACE, Recording, trace_of


@pytest.fixture
async def client(
    make_app: Callable[..., FastAPI], recording: Recording
) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of an application that is traced."""
    async with connected(make_app()) as client:
        yield client


async def test_a_request_goes_on_with_its_callers_trace(
    client: httpx2.AsyncClient, recording: Recording
) -> None:
    await client.get("/api/instances/ins_1", headers={"traceparent": CALLERS})

    span = recording.named("GET /api/instances/{instanceId}")
    assert span.kind is SpanKind.SERVER
    assert trace_of(span) == CALLERS_TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLERS_SPAN
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api/instances/{instanceId}",
        "url.scheme": "http",
        "gpukeeper.request.id": "req_1",
    }
    assert span.status.is_unset


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "nonsense")],
        [("traceparent", CALLERS), ("traceparent", CALLERS)],
    ],
)
async def test_a_request_without_one_valid_place_begins_a_trace(
    client: httpx2.AsyncClient, recording: Recording, headers: list[tuple[str, str]]
) -> None:
    await client.get("/api/instances", headers=headers)

    span = recording.named("GET /api/instances")
    assert span.parent is None
    assert trace_of(span) != CALLERS_TRACE


async def test_a_fault_of_ours_is_one_in_the_trace_too(
    client: httpx2.AsyncClient, service: ServiceDouble, recording: Recording
) -> None:
    service.fault = RuntimeError("canary")
    answer = await client.get("/api/instances")

    assert answer.status_code == 500
    span = recording.named("GET /api/instances")
    assert (span.attributes or {})["error.type"] == "500"
    assert not span.status.is_unset


async def test_nothing_that_a_caller_wrote_is_in_a_trace(
    client: httpx2.AsyncClient, recording: Recording
) -> None:
    secret: dict[str, Any] = {
        "headers": {"x-canary": "canary", "cookie": "canary=1", "traceparent": "canary"},
        "params": {"canary": "canary"},
    }
    await client.get("/canary", **secret)
    await client.get("/api/instances/canary", **secret)
    await client.post("/api/instances", json={"envs": {"canary": "canary"}}, **secret)
    await client.request("CANARY", "/api/instances", **secret)

    assert [span.name for span in recording.spans] == [
        "GET",
        "GET /api/instances/{instanceId}",
        "POST /api/instances",
        "HTTP /api/instances",
    ]
    assert "canary" not in recording.text.lower()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/metrics"])
async def test_what_machines_ask_every_few_seconds_is_in_no_trace(
    client: httpx2.AsyncClient, recording: Recording, path: str
) -> None:
    await client.get(path, headers={"traceparent": CALLERS})

    assert recording.spans == []
