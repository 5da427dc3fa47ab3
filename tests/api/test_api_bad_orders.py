"""Every way in which an order can be wrong, and how its sender is told."""

from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, ValidationError

from gpukeeper.api.params.orders import OrderBody
from gpukeeper.api.params.validation_messages import faults_of
from tests.api.double import ServiceDouble

NAME = "must be 1 to 48 letters, digits or hyphens"
PRODUCT = "must be the name of a product, of 1 to 255 characters"
TEMPLATE = "must be the id of a template, of 1 to 255 characters"
GPUS = "must be a whole number between 1 and 8"
DISK = "must be a whole number of GB between 10 and 6144"
BILLING = "must be 'spot' or 'onDemand'"
REGION = "must be a region's name or cluster id of 1 to 64 characters"
REGIONS = "must be a list of at most 20 regions"
PRICE = "must be US dollars per hour, above 0 and below 10000, with at most 5 decimals"
ENVS = "must be an object of at most 100 names and texts"
ENV_NAME = (
    "must be named with 1 to 511 letters, digits, '_', '.' or '-', not beginning with a digit"
)
ENV_VALUE = "must be text of at most 4095 characters without NUL"
PORTS = "must be a list of at most 10 ports, such as 8000/http"
PORT = "must be a port of 1 to 65535 with http or tcp, such as 8000/http"
NOVITAS_PORT = "must be another port: Novita uses 2222, 2223 and 2224 itself"
TWICE = "must not name anything twice"
COMMAND = "must be text of at most 2047 characters without control characters"
URL = "must be a URL of at most 2048 characters"
LABELS = "must be an object of at most 32 names and texts"
LABEL_NAME = "must be named with 1 to 63 characters, not all of them spaces"
LABEL_VALUE = "must be text of at most 255 characters, all on one line"
TIMEOUT = "must be a whole number of seconds between 10 and 86400"
ON_FAILURE = "must be 'keep' or 'delete'"

# A field, its wrong values, where the fault is, and what it says.
WRONG: list[tuple[str, list[Any], str, str]] = [
    ("name", ["", "x" * 49, "a b", "a_b", "é", "a\n", 5, []], "name", NAME),
    ("productName", ["", " ", "x" * 256, "a\nb", 1], "productName", PRODUCT),
    ("templateId", ["", "\t", "x" * 256, "\0", {}], "templateId", TEMPLATE),
    ("gpuNum", [0, 9, -1, 1.0, 1.5, "1", True, [], 10**30], "gpuNum", GPUS),
    ("rootfsSize", [9, 6145, 60.0, "60", False], "rootfsSize", DISK),
    ("billingMode", ["Spot", "monthly", "", 1, []], "billingMode", BILLING),
    ("region", ["", " ", "x" * 65, "a\x7f", 1], "region", REGION),
    ("regions", ["US-CA-06", ["a"] * 21, {}], "regions", REGIONS),
    ("regions", [["a", "a"]], "regions", TWICE),
    ("regions", [["a", ""], ["a", None]], "regions[1]", REGION),
    ("maxPricePerHour", [0, -1, 10000, 0.000001, 10**400, True], "maxPricePerHour", PRICE),
    ("maxPricePerHour", ["0", "-1", "1e3", "", " 1", "NaN", []], "maxPricePerHour", PRICE),
    ("envs", [[], "A=b", 1, {f"A{number}": "" for number in range(101)}], "envs", ENVS),
    ("envs", [{"": "x"}], "envs.", ENV_NAME),
    ("envs", [{"1A": "x"}], "envs.1A", ENV_NAME),
    # Only the name is repeated of what somebody meant to be name and value.
    ("envs", [{"A=B": "x"}], "envs.A", ENV_NAME),
    ("envs", [{"A" * 512: "x"}], f"envs.{'A' * 80}", ENV_NAME),
    ("envs", [{"A": "x" * 4096}, {"A": "a\0"}, {"A": 1}, {"A": None}], "envs.A", ENV_VALUE),
    ("ports", ["8000/http", {}, 8000], "ports", PORTS),
    ("ports", [[f"{number}/tcp" for number in range(1, 12)]], "ports", PORTS),
    ("ports", [["1/tcp", "1/tcp"]], "ports", TWICE),
    ("ports", [["0/tcp"], ["65536/tcp"], ["8000"], ["8000/udp"], ["80/HTTP"]], "ports[0]", PORT),
    ("ports", [["80/http", "08/tcp"], ["80/http", "1/tcp "], ["80/http", 1]], "ports[1]", PORT),
    ("ports", [["2222/tcp"], ["2223/tcp"], ["2224/http"]], "ports[0]", NOVITAS_PORT),
    ("command", ["x" * 2048, "a\0", "\x1b[0m", 1, []], "command", COMMAND),
    ("webhookUrl", ["", "https://x/" + "a" * 2048, 1], "webhookUrl", URL),
    ("labels", [[], "a", 1, {f"a{number}": "" for number in range(33)}], "labels", LABELS),
    ("labels", [{"": "x"}], "labels.", LABEL_NAME),
    ("labels", [{" ": "x"}], "labels. ", LABEL_NAME),
    ("labels", [{"a" * 64: "x"}], f"labels.{'a' * 64}", LABEL_NAME),
    ("labels", [{"a": value} for value in ("x" * 256, "a\nb", 1, None)], "labels.a", LABEL_VALUE),
    ("startupTimeout", [9, 86401, "60", 60.0], "startupTimeout", TIMEOUT),
    ("onFailure", ["Keep", "", True], "onFailure", ON_FAILURE),
    ("gpunum", [2], "gpunum", "is unknown; did you mean gpuNum?"),
    ("gpu_num", [2], "gpu_num", "is unknown; did you mean gpuNum?"),
    ("month", [1, None], "month", "is unknown"),
]


@pytest.mark.parametrize(
    ("field", "value", "named", "message"),
    [(field, value, named, message) for field, values, named, message in WRONG for value in values],
)
async def test_a_wrong_field_is_named_and_nothing_is_bought(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    valid_order: dict[str, Any],
    field: str,
    value: object,
    named: str,
    message: str,
) -> None:
    response = await client.post("/api/instances", json=valid_order | {field: value})

    assert response.status_code == 400
    assert response.json()["code"] == "invalid_request"
    assert response.json()["errors"] == [{"field": named, "message": message}]
    assert response.json()["detail"] == f"{named} {message}"
    assert service.orders == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a" * 48),
        ("name", "-"),
        ("productName", "x" * 255),
        ("templateId", "模板"),
        ("maxPricePerHour", "0.00001"),
        ("maxPricePerHour", 9999.99999),
        ("maxPricePerHour", 3),
        ("envs", {}),
        ("envs", {"A" * 511: "x" * 4095, "_a.b-C": "\x01"}),
        ("ports", []),
        ("ports", ["65535/tcp", "1/http", "2221/tcp", "2225/tcp", "22220/tcp"]),
        ("ports", ["80/tcp", "80/http"]),
        ("command", ""),
        ("command", "a\n\tb"),
        ("labels", {"a" * 63: ""}),
        ("regions", []),
        ("startupTimeout", 86400),
    ],
)
async def test_what_is_just_within_the_limits_is_ordered(
    client: httpx2.AsyncClient,
    service: ServiceDouble,
    valid_order: dict[str, Any],
    field: str,
    value: object,
) -> None:
    response = await client.post("/api/instances", json=valid_order | {field: value})

    assert response.status_code == 201
    assert len(service.orders) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:8080/",
        "ftp://hooks.example/",
        "https://user:password@hooks.example/",
        "not a url",
    ],
)
async def test_a_webhook_that_may_not_be_called_is_a_fault_beside_the_others(
    client: httpx2.AsyncClient, valid_order: dict[str, Any], url: str
) -> None:
    body = valid_order | {"webhookUrl": url, "gpuNum": 0}

    response = await client.post("/api/instances", json=body)

    assert response.status_code == 400
    faults = {error["field"]: error["message"] for error in response.json()["errors"]}
    assert faults.keys() == {"gpuNum", "webhookUrl"}
    assert faults["webhookUrl"].endswith(".")


async def test_every_fault_is_listed_at_once(client: httpx2.AsyncClient) -> None:
    body = {"gpuNum": 0, "ports": ["x", "80/tcp", "y"], "envs": {"1": 1}, "labels": [], "colour": 1}

    response = await client.post("/api/instances", json=body)

    assert [error["field"] for error in response.json()["errors"]] == [
        "name",
        "productName",
        "templateId",
        "gpuNum",
        "envs.1",
        "envs.1",
        "ports[0]",
        "ports[2]",
        "labels",
        "colour",
    ]
    assert response.json()["detail"] == (
        "name is required; productName is required; templateId is required; and 7 more"
    )


async def test_a_required_field_may_not_be_null(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    response = await client.post("/api/instances", json=valid_order | {"name": None})

    assert response.json()["errors"] == [{"field": "name", "message": "is required"}]


async def test_the_faults_of_a_body_full_of_them_are_cut_at_a_hundred(
    client: httpx2.AsyncClient, valid_order: dict[str, Any]
) -> None:
    unknown = {f"unknown{number}": 1 for number in range(5000)}

    response = await client.post("/api/instances", json=valid_order | unknown)

    assert response.status_code == 400
    assert len(response.json()["errors"]) == 100


def test_a_fault_without_a_sentence_of_its_own_is_still_told() -> None:
    class Plain(BaseModel):
        number: int

    with pytest.raises(ValidationError) as caught:
        Plain.model_validate({"number": "x"})

    (fault,) = faults_of(caught.value.errors())
    assert fault.field == "number"
    assert fault.message.startswith("is not valid: ")


def test_the_text_of_an_error_does_not_quote_what_was_sent() -> None:
    for envs in ("canary-5b2e", {"A": ["canary-5b2e"]}):
        with pytest.raises(ValidationError) as caught:
            OrderBody.model_validate({"envs": envs})

        assert "canary-5b2e" not in str(caught.value)
