"""An order is sent whole, and sent again only under its own key."""

from datetime import timedelta
from decimal import Decimal

import httpx2
import pytest

from gpukeeper.client import ApiProblem, ServiceUnreachable
from tests.client.fake_service import INSTANCE, FakeService, FakeTime, problem

ROUTE = "POST /api/instances"
CREATED = httpx2.Response(201, json=INSTANCE)


def test_an_order_says_nothing_about_what_is_left_to_the_service() -> None:
    service = FakeService()
    service.reply(ROUTE, CREATED)
    ordered = service.connect().order("trainer", product_name="RTX 4090", template_id="tpl")
    assert ordered.id == "ins_01k"
    assert service.sent() == {"name": "trainer", "productName": "RTX 4090", "templateId": "tpl"}


def test_an_order_says_all_that_was_asked() -> None:
    service = FakeService()
    service.reply(ROUTE, CREATED)
    service.connect().order(
        "trainer",
        product_name="RTX 4090",
        template_id="tpl",
        gpu_num=2,
        rootfs_size_gb=100,
        billing_mode="onDemand",
        region="CN-HK-01",
        regions=("US-CA-06",),
        max_price_per_hour=Decimal("1E-1"),
        envs={"A": "1"},
        ports=("8000/http",),
        command="sleep infinity",
        webhook_url="https://hooks.example.com",
        labels={"team": "vision"},
        startup_timeout=timedelta(minutes=20),
        on_failure="delete",
        idempotency_key="mine",
    )
    assert service.sent() == {
        "name": "trainer",
        "productName": "RTX 4090",
        "templateId": "tpl",
        "gpuNum": 2,
        "rootfsSize": 100,
        "billingMode": "onDemand",
        "region": "CN-HK-01",
        "regions": ["US-CA-06"],
        "maxPricePerHour": "0.1",
        "envs": {"A": "1"},
        "ports": ["8000/http"],
        "command": "sleep infinity",
        "webhookUrl": "https://hooks.example.com",
        "labels": {"team": "vision"},
        "startupTimeout": 1200,
        "onFailure": "delete",
    }
    assert service.requests[0].headers["idempotency-key"] == "mine"


def test_a_lost_answer_is_asked_for_again_under_the_same_key() -> None:
    service, time = FakeService(), FakeTime()
    bad_gateway = httpx2.Response(502, text="bad gateway")
    service.reply(ROUTE, httpx2.ReadTimeout("timed out"), bad_gateway, CREATED)
    ordered = service.connect().order(
        "trainer", product_name="RTX 4090", template_id="tpl", sleep=time.sleep
    )
    assert ordered.id == "ins_01k"
    assert time.pauses == [0.5, 1.0]
    assert len({each.headers["idempotency-key"] for each in service.requests}) == 1


def test_two_orders_have_two_keys() -> None:
    service = FakeService()
    service.reply(ROUTE, CREATED)
    client = service.connect()
    client.order("a", product_name="RTX 4090", template_id="tpl")
    client.order("b", product_name="RTX 4090", template_id="tpl")
    assert len({each.headers["idempotency-key"] for each in service.requests}) == 2


def test_an_order_that_may_have_been_taken_names_the_key_to_repeat_it_with() -> None:
    service, time = FakeService(), FakeTime()
    refused = httpx2.ConnectError("[Errno 111] Connection refused")
    service.reply(ROUTE, httpx2.ReadError("reset"), refused)
    with pytest.raises(ServiceUnreachable, match="idempotency key k-1") as lost:
        service.connect().order(
            "trainer",
            product_name="RTX 4090",
            template_id="tpl",
            idempotency_key="k-1",
            sleep=time.sleep,
        )
    assert lost.value.may_have_arrived
    assert len(service.requests) == 4


def test_an_order_that_never_left_needs_no_key() -> None:
    service, time = FakeService(), FakeTime()
    service.reply(ROUTE, httpx2.ConnectError("[Errno 111] Connection refused"))
    with pytest.raises(ServiceUnreachable) as refused:
        service.connect().order(
            "trainer", product_name="RTX 4090", template_id="tpl", sleep=time.sleep
        )
    assert not refused.value.may_have_arrived
    assert "key" not in refused.value.message


def test_a_problem_is_not_asked_for_again() -> None:
    service = FakeService()
    service.reply(ROUTE, problem(503, "novita_unavailable"))
    with pytest.raises(ApiProblem):
        service.connect().order("trainer", product_name="RTX 4090", template_id="tpl")
    assert len(service.requests) == 1
