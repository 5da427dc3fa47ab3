"""What happened is derived from a change, told in one body, and free of secrets."""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.events import (
    ANNOUNCED,
    Change,
    Event,
    EventType,
    data_of,
    encode,
    event_body,
    format_money,
    format_time,
    instance_body,
    webhook_body,
)
from gpukeeper.domain.instances import Endpoint, Reason, SpotSignal, Status
from tests.domain.builders import (
    MINUTE,
    NOW,
    ORDER,
    REPEATABLE,
    SECOND,
    attempt,
    instance,
    requested,
)

statuses = st.sampled_from(Status)
signals = st.sampled_from(SpotSignal)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_an_event_of_its_name(status: Status) -> None:
    other = Status.STARTING if status is Status.RUNNING else Status.RUNNING
    name = "created" if status is Status.CREATING else status.value
    assert Change(instance(other), instance(status), NOW).event_types == (f"instance.{name}",)


def test_an_order_is_an_event_too() -> None:
    assert Change(None, requested(), NOW).event_types == (EventType.REQUESTED,)


def test_a_change_that_is_none_is_no_event() -> None:
    row = instance(Status.RUNNING)
    assert Change(row, replace(row, novita_status="running"), NOW).event_types == ()


@REPEATABLE
@given(statuses, signals, statuses, signals)
def test_a_change_of_status_has_exactly_one_event_and_a_notice_at_most_one(
    before: Status, was: SpotSignal, after: Status, is_now: SpotSignal
) -> None:
    change = Change(instance(before, spot_signal=was), instance(after, spot_signal=is_now), NOW)
    notices = [kind for kind in change.event_types if kind is EventType.RECLAIM_NOTIFIED]
    assert len(change.event_types) - len(notices) == (before is not after)
    assert len(notices) <= 1
    assert not notices or was is SpotSignal.NONE


def test_the_contracts_events_are_announced_and_the_way_between_is_not() -> None:
    way = {EventType.REQUESTED, EventType.STARTING, EventType.STOPPING, EventType.DELETING}
    beside = {EventType.SURPLUS_FOUND, EventType.SURPLUS_DELETED, EventType.PRICE_CHANGED}
    assert set(EventType) - way - beside == ANNOUNCED
    event = Event("evt_1", EventType.RUNNING, "ins_1", NOW, {})
    assert event.is_announced
    assert not replace(event, type=EventType.STARTING).is_announced


@pytest.mark.parametrize("status", Status)
def test_only_a_bad_end_is_shown_as_an_error(status: Status) -> None:
    row = instance(status, reason=Reason("code", "Sentence."))
    is_error = status in (Status.FAILED, Status.RECLAIMED, Status.LOST)
    data = data_of(Change(instance(Status.STARTING), row, NOW))
    assert data["error"] == ({"code": "code", "message": "Sentence."} if is_error else None)
    assert data["previousStatus"] == "starting"
    assert data["instance"]["reason"] == {"code": "code", "message": "Sentence."}


def test_the_first_event_has_no_status_before_it() -> None:
    data = data_of(Change(None, requested(), NOW))
    assert (data["previousStatus"], data["error"]) == (None, None)


def test_a_webhook_says_what_when_and_of_which_instance() -> None:
    change = Change(instance(Status.STARTING), instance(Status.RUNNING), NOW)
    body = webhook_body(Event("evt_1", EventType.RUNNING, "ins_1", NOW, data_of(change)))
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == "instance.running"
    assert body["timestamp"] == "2026-11-23T12:00:00.000Z"
    assert json.loads(encode(body)) == body


def test_a_body_is_compact_and_keeps_every_letter() -> None:
    assert encode({"a": "ü", "b": [1, None]}) == '{"a":"ü","b":[1,null]}'.encode()


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
    assert instance_body(row) == {
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
    body = instance_body(requested(), is_stale=True)
    assert (body["productName"], body["region"]) == ("RTX 4090 24GB", "CN-HK-01")
    assert (body["novitaId"], body["pricePerHour"], body["sshCommand"]) == (None, None, None)
    assert (body["isBilling"], body["stale"], body["observedAt"]) == (False, True, None)


def test_a_later_look_that_agreed_counts_as_the_observation() -> None:
    row = instance(Status.RUNNING, observed_at=NOW)
    body = instance_body(row, observed_at=NOW + SECOND)
    assert body["observedAt"] == "2026-11-23T12:00:01.000Z"


def test_no_environment_value_leaves_in_a_body_or_a_representation() -> None:
    row = requested(order=replace(ORDER, envs={"TOKEN": "hush"}, labels={"team": "a"}))
    assert "hush" not in encode(instance_body(row)).decode() + repr(row)


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
    event = Event("evt_1", EventType.RUNNING, "ins_1", NOW, data_of(change))
    assert event_body(event) == {"id": "evt_1", **webhook_body(event)}
