"""A query that was found right once is not checked again; every other one is."""

from typing import Annotated

import httpx2
import pytest
from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpukeeper.api.cached_route import CachedRoute
from gpukeeper.api.params.queries import InstancesQuery
from tests.api.double import ServiceDouble

CHECKS: list[str] = []


class Counted(InstancesQuery):
    """A query that tells when it is checked."""

    def model_post_init(self, context: object) -> None:
        """Count."""
        CHECKS.append(f"{self.limit} {self.name}")


async def show(request: Request, thing: str, query: Annotated[Counted, Query()]) -> Response:
    """Show what was asked for."""
    return JSONResponse([thing, query.limit, request.url.query])


@pytest.fixture
async def plain() -> httpx2.AsyncClient:
    """Return a client of an application with one frequent route."""
    CHECKS.clear()
    app = FastAPI()
    app.router.add_api_route("/things/{thing}", show, route_class_override=CachedRoute)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://a.example")


async def test_the_same_query_is_checked_once(plain: httpx2.AsyncClient) -> None:
    for thing in ("a", "b", "c"):
        response = await plain.get(f"/things/{thing}?limit=7")
        assert response.json() == [thing, 7, "limit=7"]
    assert (await plain.get("/things/a")).json() == ["a", 100, ""]
    assert (await plain.get("/things/a")).json() == ["a", 100, ""]
    assert CHECKS == ["7 None", "100 None"]


async def test_a_wrong_query_stays_wrong(plain: httpx2.AsyncClient) -> None:
    for _ in range(2):
        assert (await plain.get("/things/a?limit=0")).status_code == 422


async def test_another_method_is_refused_after_a_right_query(plain: httpx2.AsyncClient) -> None:
    assert (await plain.get("/things/a")).status_code == 200
    assert (await plain.post("/things/a")).status_code == 405


async def test_long_queries_are_not_remembered(plain: httpx2.AsyncClient) -> None:
    name = "n" * 250
    for _ in range(2):
        assert (await plain.get(f"/things/a?name={name}")).status_code == 200
    assert len(CHECKS) == 2


async def test_a_hundred_queries_are_remembered(plain: httpx2.AsyncClient) -> None:
    for limit in (*range(1, 102), 101, 2, 1):
        assert (await plain.get(f"/things/a?limit={limit}")).status_code == 200
    assert [int(check.split()[0]) for check in CHECKS] == [*range(1, 102), 1]


async def test_a_listing_is_asked_for_with_its_query_each_time(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    for _ in range(2):
        assert (await client.get("/api/instances?limit=7&name=a")).status_code == 200
        assert (await client.get("/api/instances/ins_1?refresh=true")).status_code in (200, 404)
    listed = {"statuses": [], "is_current": False, "name": "a", "limit": 7, "cursor": None}
    shown = {"instance_id": "ins_1", "refresh": True}
    assert service.asked == [listed, shown] * 2
