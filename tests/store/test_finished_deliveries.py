"""What becomes of a delivery after an attempt, and of those that wait behind it in its lane."""

from datetime import timedelta

import pytest

from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.instances import Status
from gpukeeper.store import deliveries
from gpukeeper.store.db.database import Database
from gpukeeper.store.leases import Lease
from tests.store.rows import (
    HOOK,
    NOW,
    OWN,
    SECOND,
    an_instance,
    an_outbox,
    became,
    claimed,
    every_delivery,
    stored,
    tried,
)

LATER = NOW + 5 * SECOND
FAR = NOW + 3600 * SECOND


@pytest.fixture
async def lane(database: Database) -> list[Delivery]:
    """Store three deliveries of one lane, the first of which is due."""
    await stored(database, an_instance(1))
    statuses = (Status.CREATING, Status.RUNNING, Status.STOPPED)
    await became(database, "ins_000001", *statuses, outbox=an_outbox(HOOK))
    return await every_delivery(database)


async def _statuses(database: Database) -> list[str]:
    return [delivery.status.value for delivery in await every_delivery(database)]


async def _attempts(database: Database, delivery: Delivery) -> list[DeliveryAttempt]:
    return await database.read(lambda c: deliveries.list_attempts(c, delivery.id))


async def _tried_until_exhausted(database: Database, delivery: Delivery) -> None:
    for number in range(4):
        now = NOW + number * 60 * SECOND
        lease = Lease("mine", now + 20 * SECOND)
        due = await claimed(database, now, lease=lease)
        assert [row.id for row in due] == [delivery.id]
        await tried(database, due[0], 500, now=now)


async def test_the_deliveries_of_a_lane_leave_one_after_the_other_in_order(
    database: Database, lane: list[Delivery]
) -> None:
    left: list[str] = []
    while due := await claimed(database, LATER):
        assert len(due) == 1
        left.append(due[0].id)
        await tried(database, due[0], now=LATER)
    assert left == [delivery.id for delivery in lane]
    assert await _statuses(database) == ["delivered"] * 3


async def test_the_next_of_a_lane_is_due_when_the_one_before_it_is_done(
    database: Database, lane: list[Delivery]
) -> None:
    await tried(database, (await claimed(database))[0], now=LATER)
    assert [row.due_at for row in await every_delivery(database)] == [None, LATER, None]


async def test_what_is_done_says_when_and_after_how_many_attempts(
    database: Database, lane: list[Delivery]
) -> None:
    await tried(database, (await claimed(database))[0], now=LATER)
    done = await database.read(lambda c: deliveries.find(c, lane[0].id))
    assert done is not None
    assert (done.status, done.attempts) == (DeliveryStatus.DELIVERED, 1)
    assert (done.finished_at, done.due_at, done.created_at) == (LATER, None, NOW)


async def test_a_failed_delivery_is_due_again_later_and_holds_its_lane(
    database: Database, lane: list[Delivery]
) -> None:
    after = await tried(database, (await claimed(database))[0], 500, now=LATER)
    assert after.due_at is not None
    assert after.due_at > LATER
    assert await claimed(database, after.due_at - timedelta(microseconds=1)) == []
    due = await claimed(database, after.due_at)
    assert [(row.id, row.attempts) for row in due] == [(lane[0].id, 1)]


async def test_a_delivery_without_retries_left_is_exhausted_and_lets_its_lane_go(
    database: Database, lane: list[Delivery]
) -> None:
    await _tried_until_exhausted(database, lane[0])
    assert await _statuses(database) == ["exhausted", "pending", "pending"]
    assert [row.id for row in await claimed(database, FAR)] == [lane[1].id]


async def test_every_attempt_is_kept_in_order(database: Database, lane: list[Delivery]) -> None:
    await tried(database, (await claimed(database))[0], 500)
    second = await claimed(database, LATER, lease=Lease("mine", FAR))
    await tried(database, second[0], None, now=LATER)
    attempts = await _attempts(database, lane[0])
    took = timedelta(microseconds=1_234_567)
    assert attempts == [
        DeliveryAttempt(1, NOW, took, 500, None, "…"),
        DeliveryAttempt(2, LATER, took, None, "no answer", "…"),
    ]
    assert await _attempts(database, lane[1]) == []


async def test_one_who_lost_the_delivery_stores_nothing(
    database: Database, lane: list[Delivery]
) -> None:
    (mine,) = await claimed(database)
    taken_over_at = NOW + 20 * SECOND
    theirs = Lease("theirs", taken_over_at + 20 * SECOND)
    (again,) = await claimed(database, taken_over_at, lease=theirs)
    with pytest.raises(LeaseLost):
        await tried(database, mine, now=taken_over_at)
    assert await _statuses(database) == ["pending"] * 3
    assert await _attempts(database, mine) == []
    await tried(database, again, now=taken_over_at, lease_token="theirs")
    assert await _statuses(database) == ["delivered", "pending", "pending"]


async def test_a_delivery_is_finished_once(database: Database, lane: list[Delivery]) -> None:
    (mine,) = await claimed(database)
    await tried(database, mine)
    with pytest.raises(LeaseLost):
        await tried(database, mine, 500)
    assert await _statuses(database) == ["delivered", "pending", "pending"]


async def test_gone_ends_everything_that_the_url_is_owed_and_nothing_else(
    database: Database, lane: list[Delivery]
) -> None:
    await stored(database, an_instance(2, order={"webhook_url": OWN}))
    await became(database, "ins_000002", Status.CREATING, outbox=an_outbox(HOOK))
    first, *others = await claimed(database, LATER)
    await tried(database, first, 410, now=LATER)
    assert await _statuses(database) == ["ended", "ended", "ended", "ended", "pending"]
    rows = await every_delivery(database)
    assert {row.finished_at for row in rows[:4]} == {LATER}
    assert {row.due_at for row in rows[:4]} == {None}
    same_url = next(row for row in others if row.url == HOOK)
    with pytest.raises(LeaseLost):
        await tried(database, same_url)


async def test_gone_may_be_said_again(database: Database, lane: list[Delivery]) -> None:
    await tried(database, (await claimed(database))[0], 410)
    await database.write(lambda c: deliveries.redeliver(c, lane[0].id, LATER, 3))
    await tried(database, (await claimed(database, LATER))[0], 410, now=LATER)
    assert await _statuses(database) == ["ended"] * 3


async def test_what_is_pending_is_counted_with_the_age_of_the_oldest(
    database: Database, lane: list[Delivery]
) -> None:
    assert await database.read(deliveries.count_pending) == (3, NOW)
    await tried(database, (await claimed(database))[0])
    assert await database.read(deliveries.count_pending) == (2, NOW + SECOND)
    await tried(database, (await claimed(database))[0], 410)
    assert await database.read(deliveries.count_pending) == (0, None)
