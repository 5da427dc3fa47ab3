"""Deliveries that are asked for again: now, with their retries renewed, and never lost."""

import pytest

from gpukeeper.domain.deliveries import Delivery
from gpukeeper.domain.instances import Status
from gpukeeper.store import deliveries
from gpukeeper.store.db.database import Database
from gpukeeper.store.leases import Lease
from tests.store.rows import (
    HOOK,
    NOW,
    SECOND,
    an_instance,
    an_outbox,
    became,
    claimed,
    every_delivery,
    stored,
    tried,
)

LATER = NOW + 60 * SECOND


@pytest.fixture
async def lane(database: Database) -> list[Delivery]:
    """Store two deliveries of one lane that are tried once each."""
    await stored(database, an_instance(1))
    outbox = an_outbox(HOOK, retries=0)
    await became(database, "ins_000001", Status.CREATING, Status.RUNNING, outbox=outbox)
    return await every_delivery(database)


async def _again(database: Database, delivery: Delivery, *, retries: int = 3) -> bool:
    return await database.write(lambda c: deliveries.redeliver(c, delivery.id, LATER, retries))


async def _due(database: Database) -> list[str]:
    lease = Lease("mine", LATER + 20 * SECOND)
    return [row.id for row in await claimed(database, LATER, lease=lease)]


async def _found(database: Database, delivery: Delivery) -> Delivery:
    row = await database.read(lambda c: deliveries.find(c, delivery.id))
    assert row is not None
    return row


async def test_an_exhausted_delivery_is_due_again_with_its_retries_renewed(
    database: Database, lane: list[Delivery]
) -> None:
    await tried(database, (await claimed(database))[0], 500)
    assert await _again(database, lane[0])
    row = await _found(database, lane[0])
    assert (row.status.value, row.due_at, row.finished_at) == ("pending", LATER, None)
    assert (row.attempts, row.allowed_attempts) == (1, 5)
    assert lane[0].id in await _due(database)


async def test_a_delivered_one_is_sent_again_before_what_comes_later_in_its_lane(
    database: Database, lane: list[Delivery]
) -> None:
    for _ in lane:
        await tried(database, (await claimed(database))[0])
    await _again(database, lane[0])
    await became(database, "ins_000001", Status.STOPPED, outbox=an_outbox(HOOK))
    assert await _due(database) == [lane[0].id]
    await tried(database, await _found(database, lane[0]), now=LATER)
    (newest,) = (await every_delivery(database))[2:]
    assert await _due(database) == [newest.id]


async def test_a_pending_delivery_is_tried_now_and_keeps_its_count(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    (delivery,) = await claimed(database)
    after = await tried(database, delivery, 500, now=LATER)
    assert after.due_at is not None
    assert after.due_at > LATER
    await _again(database, delivery)
    row = await _found(database, delivery)
    assert (row.due_at, row.attempts, row.allowed_attempts) == (LATER, 1, 5)


async def test_one_that_waits_in_its_lane_does_not_overtake(
    database: Database, lane: list[Delivery]
) -> None:
    assert await _again(database, lane[1])
    assert (await _found(database, lane[1])).due_at is None
    assert await _due(database) == [lane[0].id]


async def test_asking_again_during_the_last_attempt_is_not_forgotten(
    database: Database, lane: list[Delivery]
) -> None:
    (under_way,) = await claimed(database)
    await _again(database, under_way)
    await tried(database, under_way, 500, now=LATER)
    row = await _found(database, under_way)
    assert (row.status.value, row.attempts, row.allowed_attempts) == ("pending", 1, 4)
    assert await _due(database) == [under_way.id]


async def test_asking_again_during_an_attempt_that_succeeds_sends_nothing_more(
    database: Database, lane: list[Delivery]
) -> None:
    (under_way,) = await claimed(database)
    await _again(database, under_way)
    await tried(database, under_way, 204, now=LATER)
    assert (await _found(database, under_way)).status.value == "delivered"
    assert await _due(database) == [lane[1].id]


async def test_a_url_that_said_gone_is_owed_again_once_a_redelivery_succeeds(
    database: Database, lane: list[Delivery]
) -> None:
    await tried(database, (await claimed(database))[0], 410)
    await _again(database, lane[0])
    assert await _due(database) == [lane[0].id]
    await tried(database, await _found(database, lane[0]), 200, now=LATER)
    await became(database, "ins_000001", Status.STOPPED, outbox=an_outbox(HOOK))
    assert len(await every_delivery(database)) == 3


async def test_there_is_nothing_to_send_again_of_an_unknown_id(database: Database) -> None:
    assert not await database.write(lambda c: deliveries.redeliver(c, "dlv_404", NOW, 3))
    assert await database.read(lambda c: deliveries.find(c, "dlv_404")) is None
