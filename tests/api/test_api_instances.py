"""Instances over HTTP."""

import inspect

import httpx2
import pytest

from gpukeeper.contract.instances import describe_instance
from gpukeeper.contract.serialization import to_dict
from gpukeeper.domain.instances import Status
from gpukeeper.service import Service
from tests.api.double import ServiceDouble
from tests.api.samples import FAILED, NOW, RUNNING

STALE = '110 gpukeeper "Response is Stale"'


def test_the_double_has_the_methods_of_the_real_service() -> None:
    real = {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(Service, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }

    double = {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(ServiceDouble, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }

    assert real.keys() >= double.keys()
    for name, signature in double.items():
        assert signature.parameters.keys() == real[name].parameters.keys(), name


async def test_an_instance_is_found_by_either_id(client: httpx2.AsyncClient) -> None:
    expected = to_dict(describe_instance(RUNNING, observed_at=NOW))

    for instance_id in ("ins_1", "37d312386c80a3b9"):
        response = await client.get(f"/api/instances/{instance_id}")

        assert response.status_code == 200
        assert response.json() == expected
        assert "warning" not in response.headers


async def test_a_refresh_is_asked_for_with_true(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    for query in ("", "?refresh=true", "?refresh=false", "?refresh="):
        await client.get(f"/api/instances/ins_1{query}")

    assert [asked["refresh"] for asked in service.asked] == [False, True, False, False]


async def test_a_stale_answer_says_so(client: httpx2.AsyncClient, service: ServiceDouble) -> None:
    service.is_novita_silent = True

    for path in ("/api/instances/ins_1", "/api/instances"):
        response = await client.get(path)

        assert response.status_code == 200
        assert response.headers["warning"] == STALE
    assert response.json()["instances"][0]["stale"] is True


@pytest.mark.parametrize(
    "instance_id", ["ins_x", "%00", "a%20b", "%FF", "..%5C", "%F0%9F%98%80", "x" * 5000, "*"]
)
@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("GET", "/events"), ("GET", "/connection"), ("POST", "/stop"), ("DELETE", "")],
)
async def test_an_unknown_id_of_whatever_shape_is_404(
    client: httpx2.AsyncClient, method: str, suffix: str, instance_id: str
) -> None:
    response = await client.request(method, f"/api/instances/{instance_id}{suffix}")

    assert response.status_code == 404
    assert response.json()["code"] == "instance_not_found"
    assert response.json()["detail"]


async def test_instances_are_listed_in_pages(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    service.rows[FAILED.id] = FAILED

    response = await client.get("/api/instances?status=&name=train&limit=1&cursor=abc")

    assert response.status_code == 200
    assert [each["id"] for each in response.json()["instances"]] == ["ins_1"]
    assert (response.json()["total"], response.json()["nextCursor"]) == (2, "next")
    assert service.asked == [
        {"statuses": [], "is_current": False, "name": "train", "limit": 1, "cursor": "abc"}
    ]


async def test_a_listing_without_a_query_has_a_hundred_of_all(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    response = await client.get("/api/instances")

    assert response.json()["nextCursor"] is None
    assert service.asked == [
        {"statuses": [], "is_current": False, "name": None, "limit": 100, "cursor": None}
    ]


async def test_a_listing_is_narrowed_to_a_status(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    service.rows[FAILED.id] = FAILED

    response = await client.get("/api/instances?status=failed")

    (found,) = response.json()["instances"]
    assert found["status"] == "failed"
    assert found["reason"] == {"code": "out_of_stock", "message": "Novita has none left."}


async def test_a_history_is_what_the_webhooks_said(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/instances/ins_1/events")

    (event,) = response.json()["events"]
    assert (event["id"], event["type"]) == ("evt_1", "instance.running")
    assert event["timestamp"] == "2026-11-23T05:12:25.123Z"
    assert event["data"]["instance"]["id"] == "ins_1"


async def test_the_password_is_in_the_connection_and_nowhere_else(
    client: httpx2.AsyncClient,
) -> None:
    connection = await client.get("/api/instances/ins_1/connection")

    assert connection.json()["sshPassword"] == "s3same"
    assert connection.headers["cache-control"] == "no-store"
    for path in ("/api/instances/ins_1", "/api/instances", "/api/instances/ins_1/events"):
        assert "s3same" not in (await client.get(path)).text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/instances/ins_1/stop", Status.STOPPING),
        ("POST", "/api/instances/ins_1/restart", Status.STARTING),
        ("DELETE", "/api/instances/ins_1", Status.DELETING),
    ],
)
async def test_a_wish_is_accepted_with_202(
    client: httpx2.AsyncClient, method: str, path: str, status: Status
) -> None:
    response = await client.request(method, path)

    assert response.status_code == 202
    assert response.json()["status"] == status.value


async def test_what_the_status_does_not_allow_is_a_conflict(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/instances/ins_1/start")

    assert response.status_code == 409
    assert response.json()["code"] == "wrong_status"


async def test_deleting_twice_gives_the_same_answer(client: httpx2.AsyncClient) -> None:
    first = await client.delete("/api/instances/ins_1")
    again = await client.delete("/api/instances/ins_1")

    assert (first.status_code, first.json()) == (again.status_code, again.json())
