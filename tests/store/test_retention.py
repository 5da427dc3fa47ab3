"""What is removed: whatever was over for long enough, and nothing that is still needed."""

import secrets
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from gpukeeper.domain import ids
from gpukeeper.domain.deliveries import Delivery
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import deliveries, facts, retention, tables
from gpukeeper.store import events as history
from gpukeeper.store.db.database import Database
from gpukeeper.store.outbox import Outbox
from tests.instances import edit
from tests.store.rows import (
    HOOK,
    NOW,
    an_instance,
    changed,
    claimed,
    stored,
    tried,
)

DAY = timedelta(days=1)
# Everything below happens at NOW, and is looked at when it is ten days old.
BEFORE = NOW + 10 * DAY
OUTBOX = Outbox((HOOK,), 3, lambda prefix, at: ids.new_id(prefix, at, secrets.token_bytes(10)))


async def announced(database: Database, count: int, *, at: datetime = NOW) -> None:
    """Store so many events that nobody ordered, each with a delivery."""
    await database.write(
        lambda c: [OUTBOX.record_test(c, [(HOOK, True)], at) for _ in range(count)]
    )


async def deliver_all(database: Database, *, at: datetime = NOW) -> list[Delivery]:
    """Deliver what is due."""
    done: list[Delivery] = []
    while due := await claimed(database, at):
        done += [await tried(database, each, now=at) for each in due]
    return done


async def remove(database: Database, before: datetime = BEFORE, *, limit: int = 100) -> list[int]:
    """Remove everything that may go; return how many rows each portion removed."""
    removed: list[int] = []
    for old, take in (
        (retention.old_deliveries, retention.remove_deliveries),
        (retention.old_events, retention.remove_events),
    ):
        last_id: str | None = ""
        while last_id is not None:
            after = last_id
            portion = await database.read(lambda c: old(c, before, after, limit))  # noqa: B023
            if portion.numbers:
                done: Counter[str] = await database.write(
                    lambda c: take(c, portion.numbers, before)  # noqa: B023
                )
                removed.append(done.total())
            last_id = portion.last_id
    return removed


async def counts(database: Database) -> tuple[int, int, int]:
    """Return how many events, deliveries and attempts there are."""
    found = [
        len(await database.read(lambda c: c.execute(select(table)).all()))  # noqa: B023
        for table in (tables.events, tables.deliveries, tables.delivery_attempts)
    ]
    return found[0], found[1], found[2]


async def test_what_was_over_before_goes_with_its_attempts(database: Database) -> None:
    await announced(database, 2)
    await announced(database, 1, at=BEFORE)
    await deliver_all(database, at=BEFORE - DAY)
    assert await counts(database) == (3, 3, 2)
    await remove(database)
    assert await counts(database) == (1, 1, 0)


async def test_a_delivery_that_is_pending_stays_with_its_event(database: Database) -> None:
    await announced(database, 1)
    (delivery,) = await claimed(database)
    await tried(database, delivery, 500)
    await remove(database)
    assert await counts(database) == (1, 1, 1)


async def test_a_delivery_that_was_made_lately_stays_with_its_event(database: Database) -> None:
    await announced(database, 1)
    await deliver_all(database, at=BEFORE)
    await remove(database)
    assert await counts(database) == (1, 1, 1)


async def test_one_that_is_redelivered_meanwhile_stays(database: Database) -> None:
    await announced(database, 1)
    (delivery,) = await deliver_all(database)
    portion = await database.read(lambda c: retention.old_deliveries(c, BEFORE, "", 9))
    await database.write(lambda c: deliveries.redeliver(c, delivery.id, NOW, 3))
    done = await database.write(lambda c: retention.remove_deliveries(c, portion.numbers, BEFORE))
    assert done.total() == 0
    assert await counts(database) == (1, 1, 1)


@pytest.mark.parametrize(
    ("machine", "left"),
    [
        ({}, 0),
        ({"novita_id": "nv-1"}, 2),
        ({"novita_id": "nv-1", "gone_at": BEFORE}, 2),
        ({"novita_id": "nv-1", "gone_at": BEFORE - DAY}, 0),
    ],
)
async def test_a_history_stays_whole_until_the_machine_has_been_gone_for_long(
    database: Database, machine: dict[str, Any], left: int
) -> None:
    await stored(database, an_instance(1), outbox=OUTBOX)

    def bought(row: Instance) -> Instance:
        return edit(row, status=Status.CREATING, **machine)

    await changed(database, "ins_000001", bought, outbox=OUTBOX)
    await deliver_all(database)
    await remove(database)
    assert await counts(database) == (left, 0, 0)
    rows = await database.read(lambda c: c.execute(select(tables.instances.c.id)).all())
    assert len(rows) == 1


async def test_no_portion_has_more_rows_than_it_may(database: Database) -> None:
    await announced(database, 7)
    await deliver_all(database)
    assert await remove(database, limit=4) == [4, 4, 4, 2, 4, 3]
    assert await counts(database) == (0, 0, 0)


async def test_one_delivery_with_more_attempts_than_a_portion_goes_alone(
    database: Database,
) -> None:
    await announced(database, 2)
    for day, answer in enumerate((500, 500, 204)):
        for delivery in await claimed(database, NOW + day * DAY):
            await tried(database, delivery, answer, now=NOW + day * DAY)
    assert await remove(database, limit=2) == [4, 4, 2]


async def test_what_stays_does_not_hide_what_may_go(database: Database) -> None:
    await stored(database, an_instance(1, novita_id="nv-1"), outbox=OUTBOX)
    await announced(database, 3, at=NOW + DAY)
    await deliver_all(database, at=NOW + DAY)
    await remove(database, limit=1)
    events = await database.read(lambda c: history.list_since(c, 0, 9))
    assert [event.number for event in events] == [1]


async def test_those_who_follow_are_told_after_which_event_nothing_is_missing(
    database: Database,
) -> None:
    assert await database.read(history.find_bounds) == (0, 0)
    await announced(database, 4)
    await database.write(lambda c: retention.remove_events(c, [3], BEFORE))
    assert await database.read(history.find_bounds) == (3, 4)
    await deliver_all(database)
    await remove(database)
    assert await database.read(history.find_bounds) == (4, 4)
    await database.write(lambda c: facts.record_removed(c, 2))
    assert await database.read(history.find_bounds) == (4, 4)
