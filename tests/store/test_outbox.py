"""Who is told of what: one event per change, one delivery per event and URL."""

from dataclasses import replace

import pytest

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import ANNOUNCED
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.machines import SpotSignal
from gpukeeper.store import events as history
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.outbox import Origin, Outbox, command_trace
from tests.instances import edit
from tests.store.rows import (
    HOOK,
    NOW,
    OWN,
    SECOND,
    all_changed,
    an_instance,
    an_outbox,
    became,
    changed,
    claimed,
    every_delivery,
    stored,
    tried,
)

SECOND_HOOK = "https://hooks.example/second"


async def _told(database: Database) -> list[tuple[str, str, bool]]:
    return [
        (delivery.event.type.value.removeprefix("instance."), delivery.url, delivery.is_trusted)
        for delivery in await every_delivery(database)
    ]


async def _test_event(database: Database, outbox: Outbox, *urls: str) -> list[str]:
    return await database.write(lambda c: outbox.record_test(c, [(url, True) for url in urls], NOW))


def _taken_back(row: Instance) -> Instance:
    return edit(row, status=Status.STOPPING, spot_signal=SpotSignal.NOTIFIED)


def _notified_and_running(row: Instance) -> Instance:
    return edit(row, status=Status.RUNNING, spot_signal=SpotSignal.NOTIFIED)


async def test_every_operator_url_and_the_callers_own_are_told(database: Database) -> None:
    outbox = an_outbox(HOOK, SECOND_HOOK)
    await stored(database, an_instance(1, order={"webhook_url": OWN}), an_instance(2))
    await became(database, "ins_000001", Status.CREATING, outbox=outbox)
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    assert await _told(database) == [
        ("created", HOOK, True),
        ("created", SECOND_HOOK, True),
        ("created", OWN, False),
        ("created", HOOK, True),
        ("created", SECOND_HOOK, True),
    ]


async def test_a_callers_url_that_is_the_operators_is_told_once_and_trusted(
    database: Database,
) -> None:
    await stored(database, an_instance(1, order={"webhook_url": HOOK}))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK, HOOK))
    assert await _told(database) == [("created", HOOK, True)]


async def test_an_event_keeps_the_place_in_a_trace_of_what_it_came_of(database: Database) -> None:
    outbox = an_outbox(HOOK)
    await stored(database, an_instance(1, traceparent="of the order"))

    def become(connection: Connection, status: Status, origin: Origin = command_trace) -> None:
        instances.change(
            connection,
            "ins_000001",
            lambda row: replace(row, status=status),
            NOW,
            outbox,
            origin=origin,
        )

    await database.write(lambda c: become(c, Status.CREATING))
    await database.write(lambda c: become(c, Status.RUNNING, lambda change: "of the work"))
    await database.write(
        lambda c: outbox.record_test(c, [(HOOK, True)], NOW, traceparent="of the test")
    )

    deliveries = await every_delivery(database)
    assert [each.event.traceparent for each in deliveries] == [
        "of the order",
        "of the work",
        "of the test",
    ]
    told = await database.read(lambda c: history.list_of_instance(c, "ins_000001"))
    assert [event.traceparent for event in told] == ["of the order", "of the order", "of the work"]


async def test_without_any_url_the_event_is_history_alone(database: Database) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox())
    assert await every_delivery(database) == []
    events = await database.read(lambda c: history.list_of_instance(c, "ins_000001"))
    assert len(events) == 2


async def test_every_change_of_status_is_one_event_and_outcomes_are_announced(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    others = [status for status in Status if status is not Status.REQUESTED]
    await became(database, "ins_000001", *others, outbox=an_outbox(HOOK))
    events = await database.read(lambda c: history.list_of_instance(c, "ins_000001"))
    assert [event.data["instance"]["status"] for event in events] == list(Status)
    announced = [event.id for event in events if event.type in ANNOUNCED]
    assert [delivery.event.id for delivery in await every_delivery(database)] == announced


async def test_a_notice_and_the_status_that_comes_with_it_are_two_events_in_order(
    database: Database,
) -> None:
    await stored(database, an_instance(1, status=Status.RUNNING))
    await changed(database, "ins_000001", _taken_back, outbox=an_outbox(HOOK))
    events = await database.read(lambda c: history.list_of_instance(c, "ins_000001"))
    assert [event.type.value for event in events[1:]] == [
        "instance.reclaim_notified",
        "instance.stopping",
    ]
    assert await _told(database) == [("reclaim_notified", HOOK, True)]


async def test_a_new_delivery_is_due_at_once_unless_one_of_its_lane_is_pending(
    database: Database,
) -> None:
    outbox = an_outbox(HOOK)
    await stored(database, an_instance(1), an_instance(2))
    await became(database, "ins_000001", Status.CREATING, Status.RUNNING, outbox=outbox)
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    first, second, other = await every_delivery(database)
    assert (first.due_at, second.due_at, other.due_at) == (NOW, None, NOW)
    assert first.lane == second.lane != other.lane
    assert {first.status, second.status} == {DeliveryStatus.PENDING}


async def test_of_instances_that_change_together_each_lane_has_its_own_order(
    database: Database,
) -> None:
    outbox = an_outbox(HOOK, SECOND_HOOK)
    await stored(
        database, *(an_instance(number, order={"webhook_url": OWN}) for number in range(1, 4))
    )
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    for delivery in await claimed(database):
        # The one to this URL is done; the others are still pending.
        if delivery.url == SECOND_HOOK:
            await tried(database, delivery, 204)

    def taken_back(row: Instance) -> Instance:
        return edit(row, status=Status.RECLAIMED, spot_signal=SpotSignal.TERMINATED)

    folds = {
        "ins_000003": _notified_and_running,
        "ins_000002": taken_back,
        "ins_000001": _notified_and_running,
    }
    await all_changed(database, folds, outbox=outbox)
    assert [
        (each.event.instance_id, each.event.type.value.removeprefix("instance."), each.url)
        for each in await every_delivery(database)
        if each.due_at is not None
    ] == [
        ("ins_000002", "created", HOOK),
        ("ins_000002", "created", OWN),
        ("ins_000001", "reclaim_notified", HOOK),
        ("ins_000001", "reclaim_notified", SECOND_HOOK),
        ("ins_000001", "reclaim_notified", OWN),
        ("ins_000002", "reclaimed", SECOND_HOOK),
        ("ins_000003", "reclaim_notified", HOOK),
        ("ins_000003", "reclaim_notified", SECOND_HOOK),
        ("ins_000003", "reclaim_notified", OWN),
    ]
    assert len(await every_delivery(database)) == 3 + 2 * 6 + 3


async def test_a_delivery_may_be_tried_once_more_than_it_has_retries(database: Database) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK, retries=5))
    (delivery,) = await every_delivery(database)
    assert (delivery.attempts, delivery.allowed_attempts) == (0, 6)


async def test_a_url_that_said_gone_is_owed_nothing_new(database: Database) -> None:
    outbox = an_outbox(HOOK, SECOND_HOOK)
    await stored(database, an_instance(1), an_instance(2))
    await became(database, "ins_000001", Status.CREATING, outbox=outbox)
    first, _ = await claimed(database)
    await tried(database, first, 410)
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    assert [d.url for d in await every_delivery(database)] == [HOOK, SECOND_HOOK, SECOND_HOOK]


async def test_a_test_event_takes_up_a_url_that_said_gone(database: Database) -> None:
    outbox = an_outbox(HOOK)
    await stored(database, an_instance(1), an_instance(2))
    await became(database, "ins_000001", Status.CREATING, outbox=outbox)
    await tried(database, (await claimed(database))[0], 410)
    await _test_event(database, outbox, HOOK)
    (test,) = await claimed(database)
    await tried(database, test, 200)
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    assert [kind for kind, _, _ in await _told(database)] == ["created", "webhook.test", "created"]


async def test_test_events_belong_to_no_instance_and_wait_for_nothing(database: Database) -> None:
    outbox = an_outbox(HOOK)
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=outbox)
    delivery_ids = await _test_event(database, outbox, HOOK, SECOND_HOOK)
    delivery_ids += await _test_event(database, outbox, HOOK)
    tests = [delivery for delivery in await every_delivery(database) if delivery.id in delivery_ids]
    assert [delivery.url for delivery in tests] == [HOOK, SECOND_HOOK, HOOK]
    assert {delivery.event.type.value for delivery in tests} == {"webhook.test"}
    assert {delivery.event.instance_id for delivery in tests} == {None}
    assert {delivery.due_at for delivery in tests} == {NOW}
    assert len({delivery.event.id for delivery in tests}) == 2


@pytest.mark.parametrize("status", [Status.STARTING, Status.STOPPING, Status.DELETING])
async def test_what_is_no_outcome_is_not_announced(database: Database, status: Status) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", status, outbox=an_outbox(HOOK))
    assert await every_delivery(database) == []


async def test_the_history_of_an_instance_is_its_own_and_in_order(database: Database) -> None:
    outbox = an_outbox()
    await stored(database, an_instance(1), an_instance(2), outbox=outbox)
    await became(database, "ins_000001", Status.CREATING, Status.RUNNING, outbox=outbox)
    await became(database, "ins_000002", Status.FAILED, outbox=outbox)
    first = await database.read(lambda c: history.list_of_instance(c, "ins_000001"))
    assert [event.type.value for event in first] == [
        "instance.requested",
        "instance.created",
        "instance.running",
    ]
    assert [event.at for event in first] == [NOW, NOW, NOW + SECOND]
    assert [event.number for event in first] == sorted({event.number for event in first})
    assert {event.instance_id for event in first} == {"ins_000001"}
    assert await database.read(lambda c: history.list_of_instance(c, "ins_404")) == []
