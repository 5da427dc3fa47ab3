"""The OpenAPI document, and the pages for people."""

import re
from collections.abc import Callable
from typing import Any

import httpx2
from fastapi import FastAPI

from gpukeeper.web.middleware import HEALTH_PATHS
from gpukeeper.web.problems import PROBLEM_TYPE
from tests.api.conftest import document
from tests.api.openapi_check import faults_in_value

MakeApp = Callable[..., FastAPI]

# Contract §4.1, without the dashboard.
ROUTES = {
    ("get", "/api/instances"),
    ("post", "/api/instances"),
    ("get", "/api/instances/{instanceId}"),
    ("delete", "/api/instances/{instanceId}"),
    ("get", "/api/instances/{instanceId}/events"),
    ("get", "/api/instances/{instanceId}/connection"),
    ("post", "/api/instances/{instanceId}/start"),
    ("post", "/api/instances/{instanceId}/stop"),
    ("post", "/api/instances/{instanceId}/restart"),
    ("get", "/api/events"),
    ("get", "/api/offers"),
    ("get", "/api/templates"),
    ("get", "/api/regions"),
    ("get", "/api/deliveries"),
    ("get", "/api/deliveries/{id}"),
    ("post", "/api/deliveries/{id}/redeliver"),
    ("post", "/api/webhooks/test"),
    ("get", "/api/orphans"),
    ("post", "/api/orphans/{novitaId}/adopt"),
    ("delete", "/api/orphans/{novitaId}"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/health"),
    ("get", "/metrics"),
}


def operations_of(app: FastAPI) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every operation of the document."""
    return {
        (method, path): operation
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


async def test_the_document_is_served_and_has_every_route(
    client: httpx2.AsyncClient, app: FastAPI
) -> None:
    response = await client.get("/openapi.json")

    assert response.json() == app.openapi()
    assert response.json()["openapi"] == "3.1.0"
    assert operations_of(app).keys() == ROUTES


def test_the_document_is_the_same_whatever_the_settings(make_app: MakeApp) -> None:
    other = make_app(api_keys=[])
    assert other.openapi() == document()


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for(app: FastAPI) -> None:
    operations = operations_of(app).values()

    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    for operation in operations:
        assert re.fullmatch("[a-z][A-Za-z]+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"].endswith(".")


def test_every_problem_has_the_problem_body(app: FastAPI) -> None:
    for place, operation in operations_of(app).items():
        assert "422" not in operation["responses"], place
        for status, response in operation["responses"].items():
            is_problem = int(status) >= 400 and not (status == "503" and place[1] in HEALTH_PATHS)
            assert (PROBLEM_TYPE in response["content"]) is is_problem, place
            for example in response["content"].get(PROBLEM_TYPE, {}).get("examples", {}).values():
                schema = app.openapi()["components"]["schemas"]["Problem"]
                assert faults_in_value(app.openapi(), schema, example["value"]) == []


def test_everything_but_health_needs_the_key(app: FastAPI) -> None:
    for (_, path), operation in operations_of(app).items():
        is_open = path in HEALTH_PATHS
        assert operation["security"] == ([] if is_open else [{"key": []}])
        assert ("401" in operation["responses"]) is not is_open


def test_every_reference_leads_somewhere(app: FastAPI) -> None:
    document = app.openapi()

    names = set(re.findall(r"'#/components/schemas/(\w+)'", str(document)))

    assert names == document["components"]["schemas"].keys()


def test_every_field_that_varies_is_explained_to_those_who_order(app: FastAPI) -> None:
    order = app.openapi()["components"]["schemas"]["OrderBody"]

    assert order["required"] == ["name", "productName", "templateId"]
    assert order["additionalProperties"] is False
    for name, field in order["properties"].items():
        assert field["description"].endswith("."), name


async def test_the_pages_load_nothing_and_run_nothing(client: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/problems"):
        page = await client.get(path)

        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert re.findall(r"<script|<img|<link|<iframe|\bsrc=|https?://", page.text) == []
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src")


async def test_the_api_page_shows_every_route(client: httpx2.AsyncClient, app: FastAPI) -> None:
    page = (await client.get("/docs")).text

    for method, path in operations_of(app):
        assert f"<code>{method.upper()} {path}</code>" in page


def test_every_answer_is_said_to_carry_the_id_of_its_request(app: FastAPI) -> None:
    components = app.openapi()["components"]["headers"]

    for (method, path), operation in operations_of(app).items():
        for status, response in operation["responses"].items():
            shown = response["headers"]["X-Request-Id"]
            assert components[shown["$ref"].rpartition("/")[2]]["required"], (method, path, status)
