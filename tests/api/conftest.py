"""The API over the double of the use cases; every answer is held against the OpenAPI document."""

import io
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from gpukeeper.api.app import create_app
from gpukeeper.service import Service
from gpukeeper.telemetry import Metrics, configure_logging, create_metrics, shut_down_logging
from gpukeeper.webhooks.guard import Allowance, check_url
from tests.api.double import ServiceDouble
from tests.api.openapi_check import faults_in_answer

KEY = "correct-horse-battery"
SECRET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def service() -> ServiceDouble:
    """Return the double that the application works with."""
    return ServiceDouble()


@pytest.fixture
def metrics() -> Metrics:
    """Return the metrics that the application counts with."""
    return create_metrics()


@pytest.fixture
def make_app(service: ServiceDouble, metrics: Metrics) -> Callable[..., FastAPI]:
    """Return a function that makes an application, by default with one key."""

    def make(**others: Any) -> FastAPI:
        return _make_app(service, metrics, **others)

    return make


def _make_app(
    service: ServiceDouble,
    metrics: Metrics,
    *,
    api_keys: Collection[str] = (KEY,),
    **others: Any,
) -> FastAPI:
    numbers = count(1)
    return create_app(
        service=cast(Service, service),
        check_webhook_url=lambda url: check_url(url, allow=Allowance()),
        api_keys=[SecretStr(key) for key in api_keys],
        secret_key=SecretStr(SECRET_KEY),
        default_region="CN-HK-01",
        default_startup_timeout=timedelta(seconds=600),
        metrics=metrics,
        version="0.1.0",
        new_request_id=lambda: f"req_{next(numbers)}",
        **others,
    )


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document, which is the same for every application and slow to build."""
    return _make_app(ServiceDouble(), create_metrics()).openapi()


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    """Return the application with one key."""
    return make_app()


@asynccontextmanager
async def connected(
    app: FastAPI, *, host: str = "http://gpukeeper.example", key: str | None = KEY
) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of an application that holds every answer against the OpenAPI document."""

    async def check(response: httpx2.Response) -> None:
        await response.aread()
        assert faults_in_answer(document(), response) == []

    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url=host,
        headers=headers,
        event_hooks={"response": [check]},
    ) as client:
        yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client with the key."""
    async with connected(app) as client:
        yield client


@pytest.fixture
def valid_order() -> dict[str, Any]:
    """Return the smallest body of an order."""
    return {"name": "trainer", "productName": "RTX 4090 24GB", "templateId": "tpl-basic"}


@pytest.fixture
def log() -> Iterator[Lines]:
    """Return a function that returns the lines logged so far, as they would stand in the file."""
    stream = io.StringIO()
    configure_logging("info", format="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    shut_down_logging()
