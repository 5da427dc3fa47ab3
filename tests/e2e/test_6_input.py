"""Row 6.2 of the requirements: whatever is wrong with a request is told, and nothing is bought."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.novita import Novita
from tests.e2e.serving import ORDER, Service

CANARY = "canary-in-a-bad-order"

# Each field with values that it may not have.
BAD_VALUES: dict[str, list[Any]] = {
    "name": [None, "", "a" * 49, "with space", "ünïcode", "a.b", 7, ["a"], "a\n"],
    "productName": [None, "", " ", "p" * 256, 4090, {}, "a\u0000b"],
    "templateId": [None, "", "t" * 256, 1, "a\tb"],
    "gpuNum": [0, 9, -1, 1.5, "1", True, [], 10**30],
    "rootfsSize": [9, 6145, "60", 60.5, False],
    "billingMode": ["", "SPOT", "monthly", 1],
    "region": ["", " ", "r" * 65, 3, ["CN-HK-01"]],
    "regions": ["CN-HK-01", {}, ["a"] * 21, ["a", "a"]],
    "regions[1]": [["US-CA-06", ""], ["US-CA-06", 5], ["US-CA-06", None]],
    "maxPricePerHour": [0, -1, "cheap", "1e3", True, 10_000, 0.000001, []],
    "envs": ["A=1", ["A=1"], {f"K{number}": "" for number in range(101)}],
    "envs.A": [{"A": CANARY * 256}, {"A": f"{CANARY}\u0000"}, {"A": 1}, {"A": None}],
    "envs.1A": [{"1A": CANARY}],
    "ports": ["8000/http", {}, [f"{port}/tcp" for port in range(1, 12)], ["80/tcp", "80/tcp"]],
    "ports[0]": [[8000], ["8000"], ["0/http"], ["65536/tcp"], ["80/udp"], ["2222/tcp"]],
    "command": ["c" * 2048, "a\u0000b", ["sleep"]],
    "webhookUrl": [
        *("", "hooks.example", "ftp://hooks.example/", "https://user@hooks.example/", 1),
        *("http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://2130706433/"),
        *("http://10.0.0.1/", "http://169.254.169.254/", "http://[64:ff9b::a00:1]/"),
        *("http://[::ffff:127.0.0.1]/", "http://0x7f.1/", "https://h.example/" + "u" * 2048),
    ],
    "labels": ["a=b", [], {f"K{number}": "" for number in range(33)}],
    "labels.team": [{"team": 1}, {"team": "l" * 256}, {"team": "a\nb"}],
    "startupTimeout": [0, 9, 86_401, "600", 10.5],
    "onFailure": ["", "stop", "DELETE", True],
    "gpunum": [1],
    "product": ["RTX 4090 24GB"],
    "dryRun": [True],
}

MALFORMED = (
    b"",
    b"{",
    b'{"name": "a",}',
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"text"',
    b'{"gpuNum": NaN}',
    b'{"gpuNum": 1, "gpuNum": 8}',
    b'{"name": "\\ud800"}',
    b"[" * 100_000,
    b'{"gpuNum": 1' + b"0" * 5_000 + b"}",
)


@pytest.fixture(autouse=True)
def nothing_is_bought(novita: Novita, service: Service) -> Iterator[None]:
    """Make sure that no test here leads to an instance, nor to any question about an order."""

    def traces() -> list[int]:
        questions = [len(novita.visits(route)) for route in ("create", "products", "template")]
        return [*questions, service.get("/api/instances").json()["total"]]

    before = traces()
    yield
    assert traces() == before


@pytest.mark.parametrize("field", BAD_VALUES)
def test_6_2_bad_input_is_400_with_details_per_field(service: Service, field: str) -> None:
    for value in BAD_VALUES[field]:
        name = field.partition(".")[0].partition("[")[0]

        answer = service.try_order(**{name: value})

        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (400, "invalid_request"), value
        assert [fault["field"] for fault in problem["errors"]] == [field], value
        assert all(fault["message"] for fault in problem["errors"])
        assert field in problem["detail"]
        assert CANARY not in answer.text


def test_6_2_every_fault_of_a_request_is_told_at_once(service: Service) -> None:
    bad = {"name": "a b", "gpuNum": 0, "billingMode": "free", "ports": ["x"], "gpus": 2}

    answer = service.post("/api/instances", json=bad, headers={"idempotency-key": "two words"})

    named = {fault["field"] for fault in answer.json()["errors"]}
    assert named == {*bad, "productName", "templateId", "Idempotency-Key"} - {"ports"} | {
        "ports[0]"
    }


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:12]))
def test_6_2_malformed_json_is_400(service: Service, body: bytes) -> None:
    answer = service.post(
        "/api/instances", content=body, headers={"content-type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["errors"]


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"],
)
def test_6_2_another_content_type_is_415(service: Service, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}

    answer = service.post("/api/instances", content=json.dumps(ORDER), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_6_2_an_oversized_body_is_413_whether_its_length_is_told_or_not(service: Service) -> None:
    order = json.dumps(ORDER | {"command": "c" * 1024 * 1024}).encode()
    headers = {"content-type": "application/json"}

    for content in (order, iter([order])):
        answer = service.post("/api/instances", content=content, headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/instances?limit=0", "limit"),
        ("/api/instances?limit=1001", "limit"),
        ("/api/instances?limit=ten", "limit"),
        ("/api/instances?status=up", "status"),
        ("/api/instances?cursor=nowhere", "cursor"),
        ("/api/instances?stauts=running", "stauts"),
        ("/api/instances/ins_1?refresh=maybe", "refresh"),
        ("/api/offers?gpuNum=9", "gpuNum"),
        ("/api/offers?billingMode=free", "billingMode"),
        ("/api/deliveries?status=lost", "status"),
    ],
)
def test_6_2_a_bad_query_is_400_with_details_per_field(
    service: Service, path: str, field: str
) -> None:
    answer = service.get(path)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
