"""What the client asks, and what it makes of the answers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from gpukeeper.client import Client
from gpukeeper.contract.instances import Endpoint, Reason
from gpukeeper.domain.errors import NotFound
from tests.client.fake_service import DELIVERY, EVENT, INSTANCE, OFFER, ORPHAN, FakeService

Case = tuple[Callable[[Client], Any], str, dict[str, Any]]

CASES: list[Case] = [
    (
        lambda client: client.instances(status="running", name="a b", limit=5, cursor="c/1"),
        "GET /api/instances?status=running&name=a+b&limit=5&cursor=c%2F1",
        {"instances": [INSTANCE], "total": 7, "nextCursor": "next"},
    ),
    (lambda client: client.instance("ins_01k"), "GET /api/instances/ins_01k", INSTANCE),
    (
        lambda client: client.instance("ins_01k", refresh=True),
        "GET /api/instances/ins_01k?refresh=true",
        INSTANCE,
    ),
    (
        lambda client: client.events("ins_01k"),
        "GET /api/instances/ins_01k/events",
        {"events": [EVENT]},
    ),
    (
        lambda client: client.connection("ins_01k"),
        "GET /api/instances/ins_01k/connection",
        {"endpoints": [], "sshCommand": "ssh x", "sshPassword": "s3cret"},
    ),
    (lambda client: client.start("ins_01k"), "POST /api/instances/ins_01k/start", INSTANCE),
    (lambda client: client.stop("ins_01k"), "POST /api/instances/ins_01k/stop", INSTANCE),
    (lambda client: client.restart("ins_01k"), "POST /api/instances/ins_01k/restart", INSTANCE),
    (lambda client: client.delete("ins_01k"), "DELETE /api/instances/ins_01k", INSTANCE),
    (
        lambda client: client.offers(
            product_name="RTX", region="CN-HK-01", billing_mode="onDemand", gpu_num=2
        ),
        "GET /api/offers?productName=RTX&region=CN-HK-01&billingMode=onDemand&gpuNum=2",
        {"offers": [OFFER]},
    ),
    (
        lambda client: client.deliveries(status="exhausted", instance_id="ins_01k", limit=3),
        "GET /api/deliveries?status=exhausted&instanceId=ins_01k&limit=3",
        {"deliveries": [DELIVERY], "nextCursor": None},
    ),
    (lambda client: client.delivery("dlv_01k"), "GET /api/deliveries/dlv_01k", DELIVERY),
    (
        lambda client: client.redeliver("dlv_01k"),
        "POST /api/deliveries/dlv_01k/redeliver",
        DELIVERY,
    ),
    (
        lambda client: client.send_test(),
        "POST /api/webhooks/test",
        {"deliveries": [DELIVERY]},
    ),
    (lambda client: client.orphans(), "GET /api/orphans", {"orphans": [ORPHAN]}),
    (lambda client: client.adopt("ffff"), "POST /api/orphans/ffff/adopt", INSTANCE),
]


@pytest.mark.parametrize(("ask", "route", "answer"), CASES, ids=[case[1] for case in CASES])
def test_each_method_asks_its_route_and_keeps_the_json(
    ask: Callable[[Client], Any], route: str, answer: dict[str, Any]
) -> None:
    service = FakeService()
    service.reply(route.split("?")[0], answer)
    with service.connect() as client:
        assert ask(client).raw == answer
    assert service.asked == [route]


def test_an_instance_is_read_into_typed_values() -> None:
    service = FakeService()
    service.reply(
        "GET /api/instances/ins_01k", INSTANCE | {"reason": {"code": "a", "message": "b"}}
    )
    instance = service.connect().instance("ins_01k")
    assert instance.price_per_hour == Decimal("0.175")
    assert instance.created_at == datetime(2026, 11, 23, 5, 12, 25, 123000, UTC)
    assert instance.deleted_at is None
    assert instance.endpoints == (Endpoint(8000, "http", "https://x-8000.example.com"),)
    assert instance.attempts[0].outcome == "accepted"
    assert instance.reason == Reason("a", "b")
    assert (instance.is_billing, instance.is_stale) == (True, False)


def test_fields_that_are_missing_or_new_do_not_matter() -> None:
    service = FakeService()
    body = {"id": "ins_9", "status": "dreaming", "colour": "blue"}
    service.reply("GET /api/instances/ins_9", body)
    instance = service.connect().instance("ins_9")
    assert (instance.status, instance.name, instance.attempts) == ("dreaming", "", ())
    assert instance.raw["colour"] == "blue"


def test_lists_are_read_into_pages() -> None:
    service = FakeService()
    service.reply("GET /api/instances", {"instances": [INSTANCE], "total": 7, "nextCursor": "n"})
    service.reply("GET /api/instances/ins_01k/events", {"events": [EVENT]})
    service.reply("GET /api/orphans", {"orphans": [ORPHAN]})
    client = service.connect()
    page = client.instances()
    assert (page.items[0].id, page.total, page.next_cursor) == ("ins_01k", 7, "n")
    event = client.events("ins_01k").items[0]
    assert (event.previous_status, event.status) == ("starting", "failed")
    assert event.error == Reason("startup_timeout", "Not running after 600 s.")
    assert client.orphans().items[0].first_seen_at == datetime(2026, 11, 23, 5, tzinfo=UTC)


def test_a_delivery_is_read_with_its_attempts() -> None:
    service = FakeService()
    service.reply("GET /api/deliveries/dlv_01k", DELIVERY)
    delivery = service.connect().delivery("dlv_01k")
    assert delivery.attempts[0].duration == timedelta(milliseconds=230)
    assert (delivery.attempt_count, delivery.attempts[0].response_status) == (1, 500)


def test_the_password_of_a_connection_is_not_in_its_text() -> None:
    service = FakeService()
    body = {"endpoints": [], "sshCommand": "ssh x", "sshPassword": "s3cret"}
    service.reply("GET /api/instances/ins_01k/connection", body)
    connection = service.connect().connection("ins_01k")
    assert connection.ssh_password == "s3cret"
    assert "s3cret" not in repr(connection)


def test_an_orphan_that_is_deleted_is_an_instance_on_its_way_out() -> None:
    service = FakeService()
    service.reply("DELETE /api/orphans/ffff", INSTANCE | {"status": "deleting"})
    deleted = service.connect().delete_orphan("ffff")
    assert (deleted.id, deleted.status) == ("ins_01k", "deleting")


def test_being_not_ready_is_an_answer() -> None:
    service = FakeService()
    body = {"status": "unready", "problems": ["the sweep loop has been silent for 130 s"]}
    service.reply("GET /health/ready", httpx2.Response(503, json=body))
    service.reply("GET /health", {"status": "ready"})
    service.reply("GET /health/live", {"status": "alive"})
    client = service.connect()
    assert not client.readiness().is_ready
    assert client.readiness().problems == ("the sweep loop has been silent for 130 s",)
    assert client.health().is_ready
    assert client.is_alive()


def test_metrics_are_text() -> None:
    service = FakeService()
    service.reply("GET /metrics", httpx2.Response(200, text="gpukeeper_up 1\n"))
    assert service.connect().metrics() == "gpukeeper_up 1\n"


def test_the_key_is_sent_as_a_bearer_token() -> None:
    service = FakeService()
    service.reply("GET /api/orphans", {"orphans": []})
    service.connect(api_key="k3y").orphans()
    service.connect().orphans()
    assert service.requests[0].headers["authorization"] == "Bearer k3y"
    assert "authorization" not in service.requests[1].headers


def test_an_address_may_have_a_path() -> None:
    service = FakeService()
    service.reply("GET /gpu/api/orphans", {"orphans": []})
    service.connect("http://gpukeeper.test/gpu/").orphans()
    assert service.asked == ["GET /gpu/api/orphans"]


def test_an_id_cannot_lead_to_another_route() -> None:
    service = FakeService()
    service.reply("DELETE /api/instances/a%2F..%2F%3Fb", INSTANCE)
    client = service.connect()
    client.delete("a/../?b")
    for climbing in ("", ".", ".."):
        with pytest.raises(NotFound):
            client.delete(climbing)
    assert service.asked == ["DELETE /api/instances/a%2F..%2F%3Fb"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("127.0.0.1:8080", None),
        ("ftp://gpukeeper.test", None),
        ("http://", None),
        ("http://gpukeeper.test:port", None),
        ("http://gpukeeper.test", "s3cret\nX-Other: 1"),
        ("http://gpukeeper.test", "s3crét"),
    ],
)
def test_an_unusable_address_or_key_is_refused_at_once(url: str, key: str | None) -> None:
    with pytest.raises(ValueError, match=r"address|key") as refused:
        Client(url, key)
    assert "s3cr" not in str(refused.value)
