"""What supervisors, people and Prometheus are told."""

import httpx2
import pytest
from fastapi import FastAPI

from tests.api.conftest import connected
from tests.api.double import ServiceDouble

PROBLEM = "the sweep loop has ended"


async def test_a_ready_service_says_so(client: httpx2.AsyncClient) -> None:
    live = await client.get("/health/live")
    ready = await client.get("/health/ready")
    health = await client.get("/health")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "problems": []})
    assert health.status_code == 200
    assert health.json() == {"status": "ready", "problems": [], "novita": {"reachable": True}}


async def test_readiness_is_examined_in_brief_and_health_in_full(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    for path in ("/health/live", "/health/ready", "/health"):
        await client.get(path)

    assert service.examined == [True, False]


async def test_a_service_that_is_not_ready_is_alive_and_says_what_is_not(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    service.is_ready = False

    live = await client.get("/health/live")
    ready = await client.get("/health/ready")
    health = await client.get("/health")

    assert live.status_code == 200
    assert (ready.status_code, health.status_code) == (503, 503)
    assert ready.json() == {"status": "not ready", "problems": [PROBLEM]}
    assert health.json()["problems"] == [PROBLEM]


@pytest.mark.parametrize("host", ["http://10.1.2.3:8080", "http://gpukeeper.internal"])
async def test_supervisors_need_no_key_whatever_they_call_us(app: FastAPI, host: str) -> None:
    async with connected(app, host=host, key=None) as client:
        for path in ("/health/live", "/health/ready", "/health"):
            assert (await client.get(path)).status_code == 200


async def test_metrics_are_prometheus_text(client: httpx2.AsyncClient) -> None:
    await client.get("/api/instances")

    response = await client.get("/metrics")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE gpukeeper_http_requests_total counter" in response.text
    assert "process_resident_memory_bytes" in response.text
    assert 'gpukeeper_instances{status="running"} 2.0' in response.text
    assert "gpukeeper_hourly_spend_usd 0.35" in response.text
    assert "gpukeeper_orphans 1.0" in response.text
    assert "gpukeeper_deliveries_pending 3.0" in response.text
    assert 'gpukeeper_oldest_due_seconds{queue="deliveries"} 12.5' in response.text
