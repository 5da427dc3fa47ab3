"""Orders over HTTP: what arrives, and what is answered."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from gpukeeper.api.params.orders import OrderBody
from gpukeeper.domain.instances import OnFailure
from gpukeeper.domain.products import BillingMode, Port
from tests.api.double import ServiceDouble


async def test_an_accepted_order_is_201_with_the_place_of_the_instance(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    response = await client.post("/api/instances", json=valid_order)

    assert response.status_code == 201
    assert response.headers["location"] == "/api/instances/ins_2"
    assert response.json()["novitaId"] == "37d312386c80a3b9"
    assert (await client.get(response.headers["location"])).json() == response.json()


async def test_an_order_that_novita_has_not_answered_is_202(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    service.is_novita_silent = True

    response = await client.post("/api/instances", json=valid_order)

    assert response.status_code == 202
    assert response.headers["location"] == "/api/instances/ins_2"
    assert response.json()["status"] == "requested"


async def test_what_is_not_ordered_has_the_defaults_of_the_contract(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    await client.post("/api/instances", json=valid_order)

    (order,) = service.orders
    assert (order.gpu_num, order.rootfs_size_gb) == (1, 60)
    assert order.billing_mode is BillingMode.SPOT
    assert (order.region, order.regions) == ("CN-HK-01", ())
    assert order.startup_timeout == timedelta(seconds=600)
    assert order.on_failure is OnFailure.KEEP
    assert (order.ports, order.command, order.webhook_url, order.max_price_per_hour) == (None,) * 4
    assert (order.envs, order.labels) == ({}, {})


async def test_everything_that_is_ordered_arrives(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    body = valid_order | {
        "gpuNum": 8,
        "rootfsSize": 6144,
        "billingMode": "onDemand",
        "region": "US-CA-06",
        "regions": ["EU-FR-01"],
        "maxPricePerHour": 0.175,
        "envs": {"KEY": "line\nline", "empty": ""},
        "ports": ["8000/http", "22/tcp"],
        "command": "python train.py",
        "webhookUrl": "https://HOOKS.example/x#part",
        "labels": {"team": "a b"},
        "startupTimeout": 10,
        "onFailure": "delete",
    }

    response = await client.post("/api/instances", json=body)

    assert response.status_code == 201
    (order,) = service.orders
    assert (order.gpu_num, order.rootfs_size_gb) == (8, 6144)
    assert order.billing_mode is BillingMode.ON_DEMAND
    assert (order.region, order.regions) == ("US-CA-06", ("EU-FR-01",))
    assert order.max_price_per_hour == Decimal("0.175")
    assert order.envs == {"KEY": "line\nline", "empty": ""}
    assert order.ports == (Port(8000, "http"), Port(22, "tcp"))
    assert order.command == "python train.py"
    assert order.webhook_url == "https://hooks.example/x"
    assert order.labels == {"team": "a b"}
    assert order.startup_timeout == timedelta(seconds=10)
    assert order.on_failure is OnFailure.DELETE


async def test_null_is_the_same_as_leaving_an_optional_field_out(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    optional = OrderBody.model_json_schema()["properties"].keys() - valid_order.keys()

    await client.post("/api/instances", json=valid_order)
    response = await client.post("/api/instances", json=valid_order | dict.fromkeys(optional))

    assert response.status_code == 201
    assert service.orders[0] == service.orders[1]


async def test_no_environment_value_is_in_the_answer(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    order = valid_order | {"envs": {"TOKEN": "hunter22"}}

    response = await client.post("/api/instances", json=order)

    assert "hunter22" not in response.text


async def test_the_same_key_and_body_give_the_same_instance(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "once"}
    other_way_round = dict(reversed(valid_order.items()))

    first = await client.post("/api/instances", json=valid_order, headers=headers)
    again = await client.post("/api/instances", json=other_way_round, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert len(service.orders) == 1


async def test_the_same_key_with_another_body_is_a_conflict(
    client: httpx2.AsyncClient, service: ServiceDouble, valid_order: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "once"}
    await client.post("/api/instances", json=valid_order, headers=headers)

    response = await client.post(
        "/api/instances", json=valid_order | {"gpuNum": 2}, headers=headers
    )

    assert response.status_code == 409
    assert response.json()["code"] == "idempotency_key_reused"
    assert len(service.orders) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "schlüssel".encode("latin-1")])
async def test_a_key_must_be_visible_ascii(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    valid_order: dict[str, Any],
    key: str | bytes,
) -> None:
    headers: Any = {"Idempotency-Key": key}

    alone = await client.post("/api/instances", json=valid_order, headers=headers)
    among_others = await client.post(
        "/api/instances", json=valid_order | {"gpuNum": 0}, headers=headers
    )

    fault = {"field": "Idempotency-Key", "message": "must be 1 to 255 visible ASCII characters"}
    assert (alone.status_code, among_others.status_code) == (400, 400)
    assert alone.json()["errors"] == [fault]
    assert [error["field"] for error in among_others.json()["errors"]] == [
        "Idempotency-Key",
        "gpuNum",
    ]
    assert service.orders == []
