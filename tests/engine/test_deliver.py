"""Delivering: retried and then exhausted, in order, and no receiver holds up another."""

import json
from datetime import timedelta
from itertools import pairwise

from structlog.testing import capture_logs

from gpukeeper.domain.deliveries import Delivery, DeliveryStatus
from gpukeeper.domain.instances import Command
from tests.engine.conftest import Build
from tests.engine.rig import HOOK, Rig

OWN = "https://caller.example/hook"
_UP = ("instance.created", "instance.running", "instance.connection_changed")


async def test_a_failed_delivery_is_retried_three_times_with_growing_pauses(rig: Rig) -> None:
    rig.receiver.answer = lambda url: 500
    await rig.order()
    (view,), _ = await rig.service.deliveries(status=None, instance_id=None, limit=9, cursor=None)
    await rig.advance(seconds=25)
    tried = await rig.service.delivery(view.delivery.id)
    assert tried.delivery.status is DeliveryStatus.EXHAUSTED
    assert [attempt.response_status for attempt in tried.attempts] == [500] * 4
    times = [attempt.at for attempt in tried.attempts]
    pauses = [(b - a).total_seconds() for a, b in pairwise(times)]
    for pause, expected in zip(pauses, [2, 4, 8], strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected


async def test_no_log_has_the_query_of_a_callers_url(rig: Rig) -> None:
    rig.receiver.answer = lambda url: 500
    with capture_logs() as logs:
        await rig.order(webhook_url=f"{OWN}?token=hunter22")
        await rig.advance(seconds=25)
    assert {line.get("url") for line in logs if line["event"] == "delivery_failed"} >= {OWN}
    assert "hunter22" not in str(logs)
    assert any("token=hunter22" in each for each, _, _ in rig.receiver.sent)


async def test_an_exhausted_delivery_can_be_sent_again(rig: Rig) -> None:
    rig.receiver.answer = lambda url: None
    await rig.order()
    await rig.advance(seconds=25)
    (view,), _ = await rig.service.deliveries(
        status=DeliveryStatus.EXHAUSTED, instance_id=None, limit=9, cursor=None
    )
    rig.receiver.answer = lambda url: 200
    await rig.service.redeliver(view.delivery.id)
    await rig.work()
    again = await rig.service.delivery(view.delivery.id)
    assert again.delivery.status is DeliveryStatus.DELIVERED
    assert len(again.attempts) == 5
    assert rig.receiver.bodies[0][1] == view.delivery.event.id


async def test_a_receiver_that_is_down_for_an_hour_loses_nothing(rig: Rig) -> None:
    """Two lanes: one whose events are exhausted, one that begins when the receiver is back."""
    rig.receiver.answer = lambda url: None
    with capture_logs() as logs:
        first = await rig.running()
        await rig.service.want(first.id, Command.STOP)
        await rig.advance(hours=1)
    exhausted = await _deliveries(rig)
    assert [delivery.status for delivery in exhausted] == [DeliveryStatus.EXHAUSTED] * 4
    errors = [line for line in logs if line["event"] == "delivery_exhausted"]
    assert [line["delivery_id"] for line in errors] == [delivery.id for delivery in exhausted]
    assert all(line["log_level"] == "error" and line["error"] == "no answer" for line in errors)
    # Each left when the one before it was exhausted, and was tried as often as it may be.
    ids = [webhook_id for _, webhook_id, _ in rig.receiver.sent]
    assert ids == [delivery.event.id for delivery in exhausted for _ in range(4)]

    rig.receiver.answer = lambda url: 204
    second = await rig.running()
    for delivery in exhausted:
        await rig.service.redeliver(delivery.id)
        await rig.work()
    every = await _deliveries(rig)
    assert {delivery.status for delivery in every} == {DeliveryStatus.DELIVERED}
    said = [json.loads(body) for _, _, body in rig.receiver.bodies]
    told = [(each["data"]["instance"]["id"], each["type"]) for each in said]
    assert told == [
        (second.id, "instance.created"),
        (second.id, "instance.running"),
        (second.id, "instance.connection_changed"),
        (first.id, "instance.created"),
        (first.id, "instance.running"),
        (first.id, "instance.connection_changed"),
        (first.id, "instance.stopped"),
    ]


async def _deliveries(rig: Rig) -> list[Delivery]:
    views, _ = await rig.service.deliveries(status=None, instance_id=None, limit=99, cursor=None)
    return [view.delivery for view in reversed(views)]


async def test_patient_retries_outlast_an_hour_in_the_order_of_events(build: Build) -> None:
    rig = build(environ={"GPUKEEPER_WEBHOOK_RETRIES": "12"})
    back_at = rig.clock() + timedelta(hours=1)
    rig.receiver.answer = lambda url: 204 if rig.clock() >= back_at else 503
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(hours=3)
    types = [json.loads(body)["type"] for _, _, body in rig.receiver.bodies]
    assert types == [*_UP, "instance.stopped"]


async def test_events_of_one_instance_keep_their_order_through_failures(rig: Rig) -> None:
    failures = iter([500, 500, 500])
    rig.receiver.answer = lambda url: next(failures, 204)
    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=3)
    types = [json.loads(body)["type"] for _, _, body in rig.receiver.bodies]
    assert types == [*_UP, "instance.deleted"]


async def test_a_dead_receiver_does_not_hold_up_another(rig: Rig) -> None:
    rig.receiver.answer = lambda url: None if url == HOOK else 204
    await rig.order(webhook_url=OWN)
    await rig.work()
    assert [url for url, _, _ in rig.receiver.bodies] == [OWN]


async def test_a_receiver_that_is_gone_gets_nothing_more_until_a_test_reaches_it(
    rig: Rig,
) -> None:
    rig.receiver.answer = lambda url: 410
    running = await rig.running()
    assert await rig.delivery_statuses() == [DeliveryStatus.ENDED]
    rig.receiver.answer = lambda url: 204
    await rig.service.send_test()
    await rig.work()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    types = [json.loads(body)["type"] for _, _, body in rig.receiver.bodies]
    assert types == ["webhook.test", "instance.stopped"]


async def test_every_attempt_carries_the_same_id_and_body(rig: Rig) -> None:
    rig.receiver.answer = lambda url: 503
    await rig.order()
    await rig.advance(seconds=25)
    assert len(rig.receiver.sent) == 4
    assert len(set(rig.receiver.sent)) == 1
