"""Whoever reads is answered in time, whatever Novita does meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from gpukeeper.domain.errors import NovitaTimeout, NovitaUnavailable, RateLimited
from gpukeeper.domain.instances import Status
from gpukeeper.domain.products import BillingMode
from gpukeeper.novita.catalog import Catalog
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.service import Service
from gpukeeper.service.fleet import Overview
from gpukeeper.service.time_limit import READ_LIMIT
from tests.engine.rig import Rig

LIMIT = timedelta(milliseconds=100)
OFFERS: dict[str, Any] = {
    "region": "CN-HK-01",
    "billing_mode": BillingMode.SPOT,
    "gpu_num": 1,
    "rootfs_size_gb": 60,
}


class Hanging(httpx2.AsyncBaseTransport):
    """A Novita that takes requests and never answers."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.Event().wait()
        raise AssertionError


class Answering(httpx2.AsyncBaseTransport):
    """A Novita that always answers the same."""

    def __init__(self, status: int, **headers: str) -> None:
        self._status = status
        self._headers = headers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self._status, headers=self._headers, request=request)


BAD: dict[str, httpx2.AsyncBaseTransport] = {
    "hangs": Hanging(),
    "is too busy": Answering(503),
    "asks for patience": Answering(429, **{"retry-after": "30"}),
}


@pytest.fixture(params=list(BAD))
async def bad(rig: Rig, request: pytest.FixtureRequest) -> Service:
    """Return the use cases with a Novita that is no use."""
    client = NovitaClient(
        base_url="http://novita.example",
        api_key=SecretStr("sk"),
        connect=lambda: BAD[request.param],
        clock=rig.clock,
        random=lambda: 0.5,
    )
    catalog = Catalog(client, clock=rig.clock)
    market = Quotes(catalog, default_region="CN-HK-01")
    return replace(rig.service, novita=client, market=market, read_limit=LIMIT)


async def in_time(asking: Awaitable[Any]) -> Any:
    """Return an answer that comes long before Novita would be given up otherwise."""
    async with asyncio.timeout(5):
        return await asking


async def test_a_refresh_answers_what_is_known_as_stale(rig: Rig, bad: Service) -> None:
    running = await rig.running()
    view = await in_time(bad.instance(running.id, refresh=True))
    assert (view.instance.status, view.is_stale) == (Status.RUNNING, True)


async def test_a_password_that_cannot_be_had_is_said_to_be_novitas_fault(
    rig: Rig, bad: Service
) -> None:
    running = await rig.running()
    with pytest.raises(NovitaUnavailable):
        await in_time(bad.connection(running.id))
    assert (await bad.instance(running.id)).instance.status is Status.RUNNING


@pytest.mark.parametrize(
    "ask",
    [
        lambda service: service.offers(product_name=None, **OFFERS),
        lambda service: Overview(service).shop(**OFFERS),
    ],
    ids=["offers", "the order form"],
)
async def test_offers_that_cannot_be_had_are_said_to_be_novitas_fault(
    bad: Service, ask: Callable[[Service], Awaitable[Any]]
) -> None:
    with pytest.raises(NovitaUnavailable):
        await in_time(ask(bad))


async def test_a_pause_that_novita_asked_for_is_told_and_silence_is_a_timeout(
    rig: Rig, bad: Service, request: pytest.FixtureRequest
) -> None:
    is_told = request.node.callspec.params["bad"] == "asks for patience"
    expected = RateLimited if is_told else NovitaTimeout
    with pytest.raises(expected) as caught:
        await in_time(bad.offers(product_name=None, **OFFERS))
    if is_told:
        assert caught.value.retry_after is not None
        assert timedelta(seconds=20) < caught.value.retry_after <= timedelta(seconds=30)


def test_the_limit_leaves_time_for_the_answer_within_ten_seconds() -> None:
    assert timedelta(seconds=9.5) >= READ_LIMIT
