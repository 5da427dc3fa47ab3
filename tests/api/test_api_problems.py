"""How every error of the program reaches a caller."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from gpukeeper.domain.errors import (
    BadCredentials,
    GpuKeeperError,
    InsufficientBalance,
    InvalidOrder,
    LeaseLost,
    NothingForSale,
    NovitaRejected,
    NovitaTimeout,
    NovitaUnavailable,
    OutOfStock,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
)
from gpukeeper.domain.instances import Reason
from gpukeeper.service import OrderFailed, OrderRefused
from gpukeeper.telemetry import Metrics, exposition
from gpukeeper.web.problems import KINDS
from tests.api.conftest import Lines
from tests.api.double import ServiceDouble, failed
from tests.api.samples import FAILED, OFFER

AT = datetime(2026, 11, 23, 5, 12, tzinfo=UTC)

# The contract's table (§4.4), and what the framework refuses by itself.
STATUSES = {
    "invalid_request": 400,
    "product_not_found": 400,
    "template_not_found": 400,
    "region_not_found": 400,
    "unauthorized": 401,
    "insufficient_balance": 402,
    "instance_not_found": 404,
    "delivery_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "wrong_status": 409,
    "foreign_machine": 409,
    "store_restored": 503,
    "idempotency_key_reused": 409,
    "out_of_stock": 409,
    "price_above_limit": 409,
    "quota_exceeded": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "too_many_wrong_keys": 429,
    "request_too_slow": 408,
    "headers_too_large": 431,
    "too_many_connections": 503,
    "internal_error": 500,
    "novita_rejected": 502,
    "novita_credentials": 502,
    "novita_rate_limited": 503,
    "novita_unavailable": 503,
    "store_unavailable": 503,
    "novita_timeout": 504,
}


def test_every_code_has_the_status_of_the_contract() -> None:
    assert {code: kind.status for code, kind in KINDS.items()} == STATUSES


async def test_a_problem_has_every_member(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/instances/ins_x", headers={"X-Request-Id": "mine-1"})

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "/problems#instance-not-found",
        "title": "There is no such instance",
        "status": 404,
        "detail": "There is no instance 'ins_x'.",
        "instance": "/api/instances/ins_x",
        "code": "instance_not_found",
        "requestId": "mine-1",
    }


async def test_the_type_of_a_problem_leads_to_its_description(client: httpx2.AsyncClient) -> None:
    page = await client.get("/problems")

    assert page.status_code == 200
    for code in KINDS:
        assert f"id='{code.replace('_', '-')}'" in page.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidOrder("Several products match.", code="product_not_found"), 400, None),
        (InvalidOrder("No template.", code="template_not_found"), 400, None),
        (InvalidOrder("No region.", code="region_not_found"), 400, None),
        (InsufficientBalance(), 402, "insufficient_balance"),
        (NothingForSale("Sold out."), 409, "out_of_stock"),
        (NothingForSale("Too dear.", code="price_above_limit"), 409, None),
        (OutOfStock(), 409, "out_of_stock"),
        (QuotaExceeded(), 409, "quota_exceeded"),
        (BadCredentials(), 502, "novita_credentials"),
        (NovitaTimeout(), 504, "novita_timeout"),
    ],
)
async def test_an_error_of_the_use_cases_has_its_status_and_its_sentence(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    valid_order: dict[str, Any],
    error: GpuKeeperError,
    status: int,
    code: str | None,
) -> None:
    service.fault = error

    response = await client.post("/api/instances", json=valid_order)

    assert response.status_code == status
    assert response.json()["code"] == (code or error.error_code)
    assert response.json()["detail"] == error.message
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (NovitaUnavailable(), "30"),
        (NovitaUnavailable(retry_after=timedelta(seconds=7.2)), "8"),
        (RateLimited(retry_after=timedelta(0)), "1"),
        (failed("novita_unavailable"), "30"),
        (StoreUnavailable("the database fails over"), "5"),
    ],
)
async def test_callers_are_told_when_to_come_back(
    client: httpx2.AsyncClient, service: ServiceDouble, error: GpuKeeperError, seconds: str
) -> None:
    service.fault = error

    response = await client.get("/api/offers")

    assert response.status_code == 503
    assert response.headers["retry-after"] == seconds


async def test_novitas_own_word_is_kept(client: httpx2.AsyncClient, service: ServiceDouble) -> None:
    service.fault = NovitaRejected("image too large", reason="IMAGE_TOO_LARGE", status=400)

    response = await client.get("/api/offers")

    assert response.status_code == 502
    assert response.json()["detail"] == "image too large"
    assert response.json()["novitaReason"] == "IMAGE_TOO_LARGE"


async def test_a_failed_order_tells_novitas_own_word_and_when_to_come_back(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    reason = Reason("novita_rate_limited", "Slower.", "RATE_LIMIT_EXCEEDED", AT + timedelta(0, 7.2))
    service.fault = OrderFailed(replace(FAILED, reason=reason), AT)

    response = await client.post("/api/instances", json=valid_order)

    assert (response.status_code, response.headers["retry-after"]) == (503, "8")
    assert response.json()["novitaReason"] == "RATE_LIMIT_EXCEEDED"
    late = OrderFailed(replace(FAILED, reason=reason), AT + timedelta(hours=1))
    assert late.retry_after == timedelta(0)


async def test_a_refused_order_tells_what_was_looked_at_and_has_no_instance(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    dear = NothingForSale("Too dear.", code="price_above_limit", offers=[OFFER])
    service.fault = OrderRefused(dear, AT)

    response = await client.post("/api/instances", json=valid_order)

    body = response.json()
    assert (response.status_code, body["code"]) == (409, "price_above_limit")
    assert "instanceId" not in body
    assert [(each["productId"], each["outcome"]) for each in body["attempts"]] == [
        ("4090.16c62g", "above_limit")
    ]


async def test_a_failed_order_tells_its_instance_and_every_try(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    service.fault = OrderFailed(FAILED, AT)

    response = await client.post("/api/instances", json=valid_order)

    assert response.status_code == 409
    body = response.json()
    assert (body["code"], body["detail"]) == ("out_of_stock", "Novita has none left.")
    assert body["instanceId"] == "ins_2"
    assert body["attempts"] == [
        {
            "productId": "4090.16c62g",
            "region": "CN-HK-01",
            "pricePerHour": "0.175",
            "outcome": "out_of_stock",
            "detail": "none left",
            "at": "2026-11-23T05:12:25.123Z",
        }
    ]


async def test_a_path_without_a_route_is_a_problem(client: httpx2.AsyncClient) -> None:
    for path in ("/nothing", "/api/instances/", "/api/instances/a%2Fb", "//api/instances"):
        response = await client.get(path)

        assert response.status_code == 404
        assert response.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/instances", "GET, HEAD, POST"),
        ("PATCH", "/api/instances/ins_1", "GET, HEAD, DELETE"),
        ("GET, HEAD", "/api/instances/ins_1/start", "POST"),
        ("OPTIONS", "/api/offers", "GET, HEAD"),
        ("BREW", "/health", "GET, HEAD"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_a_problem_with_those_that_it_has(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)

    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert response.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("fault", [RuntimeError("hunter22"), LeaseLost("hunter22")])
async def test_a_fault_of_ours_is_logged_and_counted_and_never_shown(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    metrics: Metrics,
    log: Lines,
    fault: Exception,
) -> None:
    service.fault = fault

    response = await client.get("/api/instances/ins_1")

    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert response.json()["requestId"] == response.headers["x-request-id"] == "req_1"
    assert "hunter22" not in response.text
    assert b'gpukeeper_unhandled_errors_total{where="api"} 1.0' in exposition(metrics)
    (entry,) = [each for each in log() if each["event"] == "unhandled_error"]
    assert entry["request_id"] == "req_1"
    assert "hunter22" in entry["exception"]
    assert "Traceback" in entry["exception"]


async def test_the_service_goes_on_after_a_fault(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    service.fault = RuntimeError("once")
    await client.get("/api/instances/ins_1")

    service.fault = None

    assert (await client.get("/api/instances/ins_1")).status_code == 200


def test_every_kind_says_what_to_do() -> None:
    for code, kind in KINDS.items():
        for sentence in (kind.meaning, kind.remedy):
            assert sentence.endswith("."), code
        assert not kind.title.endswith("."), code
