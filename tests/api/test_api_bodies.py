"""Bodies that are no orders: too large, of another type, not JSON, or JSON with two meanings."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.api.double import ServiceDouble

JSON = {"Content-Type": "application/json"}
LIMIT = 1024 * 1024

VALID = b'{"name":"a","productName":"p","templateId":"t"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not valid JSON: Expecting property name"),
        (b'{"name":"a",}', "is not valid JSON: "),
        (b"name=a", "is not valid JSON: "),
        (b"\xef\xbb\xbf{}", "is not valid JSON: "),
        (b'{"name":"\xff"}', "is not valid JSON: it is not UTF-8"),
        ('{"name":"a"}'.encode("utf-16"), "is not valid JSON: it is not UTF-8"),
        (b'{"name":"\\ud800"}', "is not valid JSON: it is not UTF-8"),
        (b'{"\\udfff":1}', "is not valid JSON: it is not UTF-8"),
        (b'{"maxPricePerHour":NaN}', "is not valid JSON: NaN is not a JSON number"),
        (b'{"maxPricePerHour":-Infinity}', "is not valid JSON: -Infinity is not"),
        (b'{"gpuNum":1,"gpuNum":8}', "names a field twice"),
        (b'{"envs":{"A":"1","A":"2"}}', "names a field twice"),
        (b'{"gpuNum":' + b"1" * 5000 + b"}", "is not usable JSON: a number in it is too long"),
        (b'{"gpuNum":1e' + b"9" * 30 + b"}", "is not usable JSON: a number in it is too long"),
        (b"[" * 100_000, "is not usable JSON: it is nested too deeply"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"order"', "must be a JSON object"),
        (b"1.5", "must be a JSON object"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    client: httpx2.AsyncClient, service: ServiceDouble, content: bytes, message: str
) -> None:
    response = await client.post("/api/instances", content=content, headers=JSON)

    assert response.status_code == 400
    (fault,) = response.json()["errors"]
    assert fault["field"] == "body"
    assert fault["message"].startswith(message)
    assert service.orders == []


async def test_an_empty_body_lacks_every_required_field(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/instances")

    assert response.status_code == 400
    fields = [error["field"] for error in response.json()["errors"]]
    assert fields == ["name", "productName", "templateId"]


@pytest.mark.parametrize("name", ["application/json", "Application/JSON; charset=utf-8"])
async def test_json_may_be_announced_in_any_case_and_with_parameters(
    client: httpx2.AsyncClient, name: str
) -> None:
    response = await client.post("/api/instances", content=VALID, headers={"Content-Type": name})

    assert response.status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": ""},
    ],
)
async def test_another_type_is_refused_before_the_body_is_read(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await client.post("/api/instances", content=body(), headers=headers)

    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


async def test_a_body_that_announces_too_much_is_refused_before_it_is_read(
    client: httpx2.AsyncClient,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = JSON | {"Content-Length": str(LIMIT + 1)}
    response = await client.post("/api/instances", content=body(), headers=headers)

    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


async def test_a_body_in_chunks_is_read_up_to_the_limit_only(client: httpx2.AsyncClient) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b" " * (LIMIT // 4)

    response = await client.post("/api/instances", content=body(), headers=JSON)

    assert response.status_code == 413
    assert len(read) == 5


async def test_a_body_of_exactly_the_limit_is_read(client: httpx2.AsyncClient) -> None:
    response = await client.post("/api/instances", content=VALID.ljust(LIMIT), headers=JSON)

    assert response.status_code == 201


async def test_the_test_webhook_takes_no_body_or_an_empty_object(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.post("/api/webhooks/test")).status_code == 202
    assert (await client.post("/api/webhooks/test", json={})).status_code == 202

    response = await client.post("/api/webhooks/test", json={"url": "https://hooks.example"})

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/instances/ins_1/start"),
        ("POST", "/api/instances/ins_1/restart"),
        ("DELETE", "/api/instances/ins_1"),
        ("POST", "/api/deliveries/dlv_1/redeliver"),
        ("POST", "/api/webhooks/test"),
        ("POST", "/api/orphans/n1/adopt"),
        ("DELETE", "/api/orphans/n1"),
    ],
)
@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"now", "text/plain", "unsupported_media_type"),
        (b"x" * (1024 * 1024 + 1), "application/json", "body_too_large"),
        (b'{"force": true}', "application/json", "invalid_request"),
    ],
)
async def test_a_body_where_none_is_taken_is_refused(
    client: httpx2.AsyncClient, method: str, path: str, body: bytes, content_type: str, code: str
) -> None:
    response = await client.request(
        method, path, content=body, headers={"Content-Type": content_type}
    )
    assert response.json()["code"] == code
