"""What may stand behind the question mark."""

from typing import Any

import httpx2
import pytest

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.products import BillingMode
from tests.api.double import ServiceDouble

LIMIT = "must be a whole number between 1 and 1000"


@pytest.mark.parametrize(
    ("path", "field", "message"),
    [
        *(
            (f"{path}?limit={value}", "limit", LIMIT)
            for path in ("/api/instances", "/api/deliveries")
            for value in ("0", "1001", "-1", "1.0", "ten", "1_0", "%2B1", "٣", "9" * 40)
        ),
        ("/api/instances?status=up", "status", "must be one of requested, creating,"),
        ("/api/instances?status=Running", "status", "must be one of requested, creating,"),
        ("/api/instances?name=%20", "name", "must be text of 1 to 255 characters"),
        ("/api/instances?name=a%00", "name", "must be text of 1 to 255 characters"),
        ("/api/instances?cursor=bad", "cursor", "is not a cursor"),
        (f"/api/instances?cursor={'x' * 513}", "cursor", "is not a cursor"),
        ("/api/instances/ins_1?refresh=yes", "refresh", "must be true or false"),
        ("/api/instances/ins_1?refresh=1", "refresh", "must be true or false"),
        ("/api/deliveries?status=dead", "status", "must be one of pending, delivered,"),
        ("/api/offers?gpuNum=9", "gpuNum", "must be a whole number between 1 and 8"),
        ("/api/offers?billingMode=monthly", "billingMode", "must be one of spot, onDemand"),
    ],
)
async def test_a_wrong_parameter_is_named(
    client: httpx2.AsyncClient, path: str, field: str, message: str
) -> None:
    response = await client.get(path)

    assert response.status_code == 400
    (fault,) = response.json()["errors"]
    assert fault["field"] == field
    assert fault["message"].startswith(message)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/instances"),
        ("POST", "/api/instances"),
        ("GET", "/api/instances/ins_1"),
        ("DELETE", "/api/instances/ins_1"),
        ("POST", "/api/instances/ins_1/stop"),
        ("GET", "/api/instances/ins_1/events"),
        ("GET", "/api/instances/ins_1/connection"),
        ("GET", "/api/offers"),
        ("GET", "/api/templates"),
        ("GET", "/api/regions"),
        ("GET", "/api/deliveries"),
        ("GET", "/api/deliveries/dlv_1"),
        ("POST", "/api/deliveries/dlv_1/redeliver"),
        ("POST", "/api/webhooks/test"),
        ("GET", "/api/orphans"),
        ("POST", "/api/orphans/0123456789abcdef/adopt"),
        ("DELETE", "/api/orphans/0123456789abcdef"),
    ],
)
async def test_an_unknown_parameter_is_refused_and_nothing_is_done(
    client: httpx2.AsyncClient, service: ServiceDouble, method: str, path: str
) -> None:
    before = dict(service.rows), dict(service.sent), dict(service.strays)

    response = await client.request(method, f"{path}?stauts=running")

    assert response.status_code == 400
    assert {"field": "stauts", "message": "is unknown"} in response.json()["errors"]
    assert (service.rows, service.sent, service.strays) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/instances?name=a&name=b"),
        ("GET", "/api/instances/ins_1?refresh=true&refresh=true"),
        ("GET", "/api/offers?region=a&region="),
        ("GET", "/api/deliveries?limit=1&limit=2"),
    ],
)
async def test_a_parameter_that_is_given_twice_is_refused(
    client: httpx2.AsyncClient, service: ServiceDouble, method: str, path: str
) -> None:
    response = await client.request(method, path)

    assert response.status_code == 400
    (fault,) = response.json()["errors"]
    assert fault["message"] == "is given more than once"
    assert service.asked == []


@pytest.mark.parametrize(
    ("query", "statuses"),
    [
        ("status=running&status=failed", ["running", "failed"]),
        ("status=running,failed", ["running", "failed"]),
        ("status=failed,%20running,&status=failed", ["failed", "running"]),
        ("status=", []),
        ("", []),
    ],
)
async def test_instances_are_narrowed_to_several_statuses(
    client: httpx2.AsyncClient, service: ServiceDouble, query: str, statuses: list[str]
) -> None:
    response = await client.get(f"/api/instances?{query}")

    assert response.status_code == 200
    assert (service.asked[-1]["statuses"], service.asked[-1]["is_current"]) == (statuses, False)


async def test_what_has_ended_can_be_left_out(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    assert (await client.get("/api/instances?current=true")).status_code == 200
    assert service.asked[-1]["is_current"] is True

    response = await client.get("/api/instances?current=true&status=failed")

    assert response.json()["errors"] == [
        {"field": "current", "message": "cannot be combined with status"}
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/api/templates",
            {
                "templates": [
                    {"id": "tpl-basic", "name": "Basic", "imageUrl": "docker.io/acme/worker:1.4"}
                ]
            },
        ),
        ("/api/regions", {"regions": [{"name": "US-CA-06", "clusterId": "us-ca-6"}]}),
    ],
)
async def test_what_an_order_can_name_is_listed_without_secrets(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    assert (await client.get(path)).json() == body


async def test_every_wrong_parameter_is_listed_at_once(client: httpx2.AsyncClient) -> None:
    response = await client.get("/api/instances?limit=0&status=x&sort=name")

    assert [error["field"] for error in response.json()["errors"]] == ["status", "limit", "sort"]


async def test_offers_are_asked_for_with_the_defaults_of_an_order(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    await client.get("/api/offers")

    expected = {
        "product_name": None,
        "region": None,
        "billing_mode": BillingMode.SPOT,
        "gpu_num": 1,
        "rootfs_size_gb": 60,
    }
    assert service.asked == [expected]


async def test_offers_are_asked_for_as_the_query_says(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    query = {
        "productName": "RTX 4090 24GB",
        "region": "US-CA-06",
        "billingMode": "onDemand",
        "gpuNum": "8",
        "rootfsSize": "100",
    }

    response = await client.get("/api/offers", params=query)

    assert response.json() == {
        "offers": [
            {
                "productId": "4090.16c62g",
                "productName": "RTX 4090 24GB",
                "region": "CN-HK-01",
                "clusterId": "cn-hongkong-1",
                "billingMode": "spot",
                "gpuNum": 1,
                "pricePerHour": "0.175",
                "currency": "USD",
                "stock": "high",
                "maxRootfsSize": 1024,
            }
        ]
    }
    expected: dict[str, Any] = {
        "product_name": "RTX 4090 24GB",
        "region": "US-CA-06",
        "billing_mode": BillingMode.ON_DEMAND,
        "gpu_num": 8,
        "rootfs_size_gb": 100,
    }
    assert service.asked == [expected]


async def test_deliveries_are_narrowed_as_the_query_says(
    client: httpx2.AsyncClient, service: ServiceDouble
) -> None:
    response = await client.get(
        "/api/deliveries?status=exhausted&instanceId=ins_1&limit=5&cursor=abc"
    )

    assert service.asked == [
        {"status": DeliveryStatus.EXHAUSTED, "instance_id": "ins_1", "limit": 5}
    ]
    assert response.json()["nextCursor"] == "abc"
    assert [each["id"] for each in response.json()["deliveries"]] == ["dlv_1"]
