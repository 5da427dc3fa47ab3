"""Each public body has the contract's fields, is free of secrets, and is read as it was written."""

import json
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.contract.deliveries import describe_delivery
from gpukeeper.contract.events import (
    describe_change,
    describe_event,
    describe_webhook,
    encode_webhook,
)
from gpukeeper.contract.instances import describe_instance
from gpukeeper.contract.offers import describe_offer
from gpukeeper.contract.orphans import describe_orphan
from gpukeeper.contract.serialization import format_money, format_time, to_dict, to_json
from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.events import Change, Event, EventType
from gpukeeper.domain.instances import Duplicate, Instance, Reason, Status
from gpukeeper.domain.machines import Endpoint, Observation, Phase
from gpukeeper.domain.products import BillingMode, Offer
from tests.domain.builders import MINUTE, NOW, ORDER, SECOND, attempt, instance, requested

DEAR = Decimal("1.25")


@pytest.mark.parametrize("status", Status)
def test_only_a_bad_end_is_shown_as_an_error(status: Status) -> None:
    row = instance(status, reason=Reason("code", "Sentence."))
    is_error = status in (Status.FAILED, Status.RECLAIMED, Status.LOST)
    data = describe_change(Change(instance(Status.STARTING), row, NOW))
    assert data["error"] == ({"code": "code", "message": "Sentence."} if is_error else None)
    assert data["previousStatus"] == "starting"
    assert data["instance"]["reason"] == {"code": "code", "message": "Sentence."}


def test_the_first_event_has_no_status_before_it() -> None:
    data = describe_change(Change(None, requested(), NOW))
    assert (data["previousStatus"], data["error"]) == (None, None)


def test_a_webhook_says_what_when_and_of_which_instance() -> None:
    change = Change(instance(Status.STARTING), instance(Status.RUNNING), NOW)
    event = Event("evt_1", EventType.RUNNING, "ins_1", NOW, describe_change(change))
    body = describe_webhook(event)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "instance.running"
    assert body["timestamp"] == "2026-11-23T12:00:00.000Z"
    assert json.loads(encode_webhook(event)) == body


def test_a_body_is_compact_and_keeps_every_letter() -> None:
    event = Event("evt_1", EventType.TEST, None, NOW, {"a": "ü", "b": [1, None]})
    said = '{"type":"webhook.test","timestamp":"2026-11-23T12:00:00.000Z","data":%s}'
    assert encode_webhook(event) == (said % '{"a":"ü","b":[1,null]}').encode()


def test_an_instance_is_shown_as_the_contract_says() -> None:
    row = instance(
        Status.RUNNING,
        order=replace(ORDER, product_name="4090"),
        product_id="4090.a",
        product_name="RTX 4090 24GB",
        cluster_id="cn-hongkong-1",
        region="CN-HK-02",
        image_url="docker.io/acme/worker:1.4",
        price_per_hour=Decimal("0.17500"),
        endpoints=(Endpoint(8000, "http", "https://m1-8000.example"),),
        ssh_command="ssh -p 1 root@proxy.example",
        attempts=(attempt("accepted"),),
        running_at=NOW,
        reclaim_at=NOW + MINUTE,
        novita_status="running",
        observed_at=NOW,
    )
    assert to_dict(describe_instance(row)) == {
        "id": "ins_1",
        "novitaId": "m1",
        "name": "trainer",
        "status": "running",
        "reason": None,
        "productName": "RTX 4090 24GB",
        "productId": "4090.a",
        "region": "CN-HK-02",
        "clusterId": "cn-hongkong-1",
        "templateId": "tpl-basic",
        "imageUrl": "docker.io/acme/worker:1.4",
        "gpuNum": 1,
        "rootfsSize": 60,
        "billingMode": "spot",
        "pricePerHour": "0.175",
        "maxPricePerHour": None,
        "costPerHour": {"gpuUsd": "0.175", "diskUsd": "0"},
        "currency": "USD",
        "labels": {},
        "endpoints": [{"port": 8000, "type": "http", "url": "https://m1-8000.example"}],
        "sshCommand": "ssh -p 1 root@proxy.example",
        "createdAt": "2026-11-23T11:55:00.000Z",
        "startedAt": "2026-11-23T11:55:00.000Z",
        "runningAt": "2026-11-23T12:00:00.000Z",
        "deletedAt": None,
        "reclaimAt": "2026-11-23T12:01:00.000Z",
        "isBilling": True,
        "surplusMachines": [],
        "novitaStatus": "running",
        "observedAt": "2026-11-23T12:00:00.000Z",
        "stale": False,
        "attempts": [
            {
                "productId": "4090.a",
                "region": "CN-HK-01",
                "pricePerHour": "0.175",
                "outcome": "accepted",
                "detail": None,
                "at": "2026-11-23T12:00:00.000Z",
            }
        ],
    }


def test_before_anything_is_bought_the_order_speaks() -> None:
    body = to_dict(describe_instance(requested(), is_stale=True))
    assert (body["productName"], body["region"]) == ("RTX 4090 24GB", "CN-HK-01")
    assert (body["novitaId"], body["pricePerHour"], body["sshCommand"]) == (None, None, None)
    assert (body["isBilling"], body["stale"], body["observedAt"]) == (False, True, None)


def test_a_later_look_that_agreed_counts_as_the_observation() -> None:
    row = instance(Status.RUNNING, observed_at=NOW)
    body = to_dict(describe_instance(row, observed_at=NOW + SECOND))
    assert body["observedAt"] == "2026-11-23T12:00:01.000Z"


def test_no_environment_value_leaves_in_a_body_or_a_representation() -> None:
    row = requested(order=replace(ORDER, envs={"TOKEN": "hush"}, labels={"team": "a"}))
    assert "hush" not in to_json(describe_instance(row)).decode() + repr(row)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, None),
        (NOW.replace(microsecond=123999), "2026-11-23T12:00:00.123Z"),
        (NOW.astimezone(timezone(timedelta(hours=8))), "2026-11-23T12:00:00.000Z"),
    ],
)
def test_times_are_shown_in_utc_with_milliseconds(at: datetime | None, text: str | None) -> None:
    assert format_time(at) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, None),
        ("0.17500", "0.175"),
        ("100", "100"),
        ("1E+2", "100"),
        ("0E-5", "0"),
        ("0.00001", "0.00001"),
    ],
)
def test_money_is_shown_without_zeros_that_say_nothing_and_without_exponent(
    amount: Any, text: str | None
) -> None:
    assert format_money(None if amount is None else Decimal(amount)) == text


def test_a_history_shows_an_event_as_its_webhook_does_with_its_id() -> None:
    row = instance(Status.RUNNING)
    change = Change(replace(row, status=Status.STARTING), row, NOW)
    event = Event("evt_1", EventType.RUNNING, "ins_1", NOW, describe_change(change))
    assert to_dict(describe_event(event)) == {"id": "evt_1", **describe_webhook(event)}


def test_an_orphan_is_shown_with_the_name_of_its_region() -> None:
    machine = Observation(
        "nv1",
        "trainer-gkte5t00000001",
        "running",
        Phase.UP,
        NOW,
        cluster_id="cn-1",
        cluster_name="CN-HK-01 (Hong Kong)",
        product_name="RTX 4090 24GB",
        price_per_hour=Decimal("0.175"),
        created_at=NOW,
    )
    shown = describe_orphan(machine, first_seen_at=NOW, last_seen_at=NOW + SECOND, is_foreign=False)
    assert (shown.novita_id, shown.name, shown.novita_status) == (
        "nv1",
        "trainer-gkte5t00000001",
        "running",
    )
    assert (shown.region, shown.product_name) == ("CN-HK-01", "RTX 4090 24GB")
    assert (shown.first_seen_at, shown.last_seen_at) == (NOW, NOW + SECOND)
    unnamed = replace(machine, cluster_name="")
    later = describe_orphan(unnamed, first_seen_at=NOW, last_seen_at=NOW, is_foreign=True)
    assert (later.region, later.is_foreign) == ("cn-1", True)


def test_what_a_client_reads_is_what_the_service_wrote() -> None:
    row = a_full_row()
    delivery = Delivery(
        id="dlv_1",
        event=Event("evt_1", EventType.RUNNING, "ins_1", NOW, {}),
        url="https://hooks.example",
        is_trusted=True,
        lane="one",
        status=DeliveryStatus.EXHAUSTED,
        created_at=NOW,
        due_at=NOW + SECOND,
        finished_at=NOW + MINUTE,
        attempts=1,
    )
    attempts = [DeliveryAttempt(1, NOW, timedelta(milliseconds=12.6), 500, "it broke", "oh no")]
    offer = Offer("4090.a", "RTX 4090", "cn-1", "CN-HK-01", BillingMode.SPOT, 2, DEAR, "high", 900)
    bodies: list[Any] = [
        describe_instance(row, is_stale=True),
        describe_delivery(delivery, attempts),
        describe_offer(offer),
        describe_event(Event("evt_1", EventType.RUNNING, "ins_1", NOW, {"a": 1})),
    ]
    for body in bodies:
        written = json.loads(to_json(body))
        read = type(body).read(written)
        assert read == body
        assert read.raw == written
        defaults = {each.name: each.default for each in fields(body)}
        forgotten = [name for name, default in defaults.items() if getattr(body, name) == default]
        assert set(forgotten) <= {"currency"}


def a_full_row() -> Instance:
    """Return a row that has something to say in every field."""
    return instance(
        Status.RUNNING,
        order=replace(
            ORDER, max_price_per_hour=DEAR, labels={"a": "b"}, gpu_num=2, rootfs_size_gb=108
        ),
        reason=Reason("code", "Sentence."),
        product_id="4090.a",
        product_name="RTX 4090 24GB",
        cluster_id="cn-hongkong-1",
        region="CN-HK-02",
        image_url="docker.io/acme/worker:1.4",
        price_per_hour=DEAR,
        endpoints=(Endpoint(8000, "http", "https://m1-8000.example"),),
        ssh_command="ssh -p 1 root@proxy.example",
        attempts=(attempt("accepted"),),
        running_at=NOW,
        deleted_at=NOW,
        reclaim_at=NOW + MINUTE,
        novita_status="running",
        observed_at=NOW,
        duplicates=(Duplicate("m2", NOW, NOW),),
    )
