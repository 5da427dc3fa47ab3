"""How many entries there are is looked at before any of them."""

import json
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from gpukeeper.api.params.orders import OrderBody
from tests.api.conftest import connected
from tests.api.double import ServiceDouble

MANY = 40_000
WRONG = "\x00"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("labels", {f"{n}": WRONG for n in range(MANY)}, "must be an object of at most 32"),
        ("labels", {f"{n}{WRONG}": 1 for n in range(MANY)}, "must be an object of at most 32"),
        ("envs", {f"{n}": 1 for n in range(MANY)}, "must be an object of at most 100"),
        ("ports", [f"{n}/udp" for n in range(MANY)], "must be a list of at most 10 ports"),
        ("regions", [WRONG] * MANY, "must be a list of at most 20 regions"),
    ],
)
async def test_of_too_many_entries_none_is_judged(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    valid_order: dict[str, Any],
    field: str,
    value: Any,
    message: str,
) -> None:
    response = await client.post("/api/instances", json={**valid_order, field: value})

    assert response.status_code == 400
    (fault,) = response.json()["errors"]
    assert fault["field"] == field
    assert fault["message"].startswith(message)
    assert service.orders == []


def test_every_field_that_holds_many_has_its_number_looked_at_first() -> None:
    """A field that is added later is found here when its entries are judged first."""
    order = {"name": "a", "productName": "p", "templateId": "t"}
    for name, field in OrderBody.model_fields.items():
        lists: list[Any] = [[{}] * MANY, {f"{n}": {} for n in range(MANY)}]
        for many in lists:
            with pytest.raises(ValueError, match="validation error") as caught:
                OrderBody.model_validate({**order, str(field.alias): many})
            details = caught.value.errors()  # type: ignore[attr-defined] # of pydantic's error
            assert len(details) <= 3, name


def test_of_too_many_unknown_fields_no_more_are_judged_than_are_named() -> None:
    order = {"name": "a", "productName": "p", "templateId": "t"}
    with pytest.raises(ValueError, match="validation error") as caught:
        OrderBody.model_validate({**{f"productNam{n}": n for n in range(MANY)}, **order})
    assert len(caught.value.errors()) == 100  # type: ignore[attr-defined] # of pydantic's error


async def test_nothing_is_guessed_from_a_name_as_long_as_a_book(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    body = {**valid_order, "n" + "ame" * 200_000: 1}
    (fault,) = (await client.post("/api/instances", json=body)).json()["errors"]
    assert fault["message"] == "is unknown"
    assert len(fault["field"]) <= 80


@pytest.mark.parametrize("path", ["/api/instances", "/api/events", "/login"])
async def test_a_query_of_thousands_of_parameters_is_not_taken_apart(
    app: FastAPI, path: str
) -> None:
    async with connected(app) as client:
        response = await client.get(f"{path}?{'&'.join(f'a{n}=1' for n in range(5000))}")
    assert response.status_code == 400
    (fault,) = response.json()["errors"]
    assert (fault["field"], fault["message"]) == ("query", "must have at most 200 parameters")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "GZIP", "gzip, identity", "x"])
@pytest.mark.parametrize("path", ["/api/instances", "/login", "/api/webhooks/test"])
async def test_a_body_in_an_encoding_is_refused_by_that_name(
    app: FastAPI, path: str, encoding: str
) -> None:
    async with connected(app) as client:
        response = await client.post(
            path,
            content=b"\x1f\x8b\x08",
            headers={"Content-Encoding": encoding, "Content-Type": "application/json"},
        )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in response.json()["detail"]
    assert response.headers["accept-encoding"] == "identity"


async def test_identity_is_no_encoding(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    headers = {"Content-Encoding": "identity", "Content-Type": "application/json"}
    content = json.dumps(valid_order)
    response = await client.post("/api/instances", content=content, headers=headers)
    assert response.status_code == 201
    assert (await client.get("/api/orphans", headers={"Content-Encoding": "gzip"})).is_success


async def test_a_body_that_is_compressed_on_its_way_is_refused_too(
    client: httpx2.AsyncClient,
) -> None:
    for transfer, status in (("gzip, chunked", 415), ("Chunked", 400)):
        headers = {"Transfer-Encoding": transfer, "Content-Type": "application/json"}
        response = await client.post("/api/instances", content=b"{}", headers=headers)
        assert response.status_code == status
