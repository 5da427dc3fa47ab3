"""What every request gets: an id, a line in the log, its metrics and safe headers."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from gpukeeper.telemetry import Metrics, exposition
from tests.api.conftest import KEY, Lines, connected
from tests.api.double import ServiceDouble


async def test_an_id_that_the_caller_chose_is_kept(client: httpx2.AsyncClient) -> None:
    response = await client.get("/health/live", headers={"X-Request-Id": "trace:1.a-b_c"})

    assert response.headers["x-request-id"] == "trace:1.a-b_c"


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "é", '"', "a\tb"])
async def test_an_id_that_could_not_be_logged_is_replaced(
    client: httpx2.AsyncClient, request_id: str
) -> None:
    headers: Any = [(b"x-request-id", request_id.encode())]

    response = await client.get("/health/live", headers=headers)

    assert response.headers["x-request-id"] == "req_1"


async def test_every_answer_has_safe_headers(client: httpx2.AsyncClient, app: FastAPI) -> None:
    async with connected(app, key=None) as stranger:
        refused = await stranger.get("/api/instances")
    for response in (
        refused,
        await client.get("/api/instances"),
        await client.get("/nothing"),
        await client.get("/docs"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        policy = response.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)


async def test_a_request_is_one_line_with_the_route_and_not_the_path(
    client: httpx2.AsyncClient, log: Lines
) -> None:
    await client.get("/api/instances/ins_1?refresh=true")

    (line,) = log()
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "method": "GET",
        "route": "/api/instances/{instanceId}",
        "status": 200,
        "duration_ms": 250.0,
        "request_id": "req_1",
        "logger": "gpukeeper.web.middleware",
        "level": "info",
    }


async def test_a_problem_is_told_in_the_line(client: httpx2.AsyncClient, log: Lines) -> None:
    await client.get("/api/instances/ins_x")

    (line,) = log()
    assert (line["code"], line["status"]) == ("instance_not_found", 404)
    assert line["detail"] == "There is no instance 'ins_x'."


async def test_no_key_is_in_the_log(app: FastAPI, log: Lines) -> None:
    async with connected(app) as client:
        await client.get("/api/instances")
        await client.get("/api/instances", headers={"Authorization": "Bearer hunter22"})

    assert [line["event"] for line in log()] == ["request", "wrong_key", "request"]
    assert KEY not in str(log())
    assert "hunter22" not in str(log())


async def test_health_is_asked_for_without_filling_the_log(
    client: httpx2.AsyncClient, log: Lines
) -> None:
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        await client.get(path)

    assert log() == []


async def test_requests_are_counted_by_route(client: httpx2.AsyncClient, metrics: Metrics) -> None:
    for path in ("/api/instances/a", "/api/instances/b", "/nothing/1", "/nothing/2"):
        await client.get(path)
    await client.request("BREW", "/api/offers")

    text = exposition(metrics).decode()
    counted = 'gpukeeper_http_requests_total{method="%s",route="%s",status="%s"} %s'
    assert counted % ("GET", "/api/instances/{instanceId}", "404", "2.0") in text
    assert counted % ("GET", "none", "404", "2.0") in text
    assert counted % ("other", "/api/offers", "405", "1.0") in text
    assert "gpukeeper_http_request_duration_seconds_bucket" in text


async def test_a_caller_that_hangs_up_is_no_fault_of_ours(
    service: ServiceDouble, metrics: Metrics, app: FastAPI, log: Lines
) -> None:
    service.fault = ClientDisconnect()
    sent: list[Any] = []

    await run(app, "/api/instances/ins_1", sent.append)

    assert sent == []
    assert [line["status"] for line in log()] == [499]
    assert b'gpukeeper_unhandled_errors_total{where="api"} 0.0' in exposition(metrics)


async def test_a_fault_in_the_middle_of_an_answer_is_logged_and_ends_it(
    app: FastAPI, metrics: Metrics, log: Lines
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("it broke")

    async def stream() -> StreamingResponse:
        return StreamingResponse(broken())

    app.add_api_route("/stream", stream)
    sent: list[Any] = []

    await run(app, "/stream", sent.append)

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert [line["event"] for line in log()] == ["unhandled_error", "request"]
    assert b'gpukeeper_unhandled_errors_total{where="api"} 1.0' in exposition(metrics)


async def test_other_protocols_are_passed_on(app: FastAPI) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "lifespan.shutdown" if sent else "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    """Return an application whose clock moves by a quarter of a second at each look."""
    quarters = iter(range(1000))
    return make_app(timer=lambda: next(quarters) * 0.25)


async def run(app: FastAPI, path: str, sent: Callable[[Any], None]) -> None:
    """Ask as a bare ASGI server would."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {KEY}".encode())],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent(message)

    await app(scope, receive, send)
