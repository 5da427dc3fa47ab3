"""Which instances are claimed, and when the next one wants attention."""

from datetime import datetime

import pytest
from sqlalchemy import func, update

from gpukeeper.domain.instances import Status
from gpukeeper.store import instances, tables
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.instances import DueQueue
from tests.store.rows import LEASE, NOW, OTHER_LEASE, SECOND, an_instance, stored


async def _claimed(
    database: Database, limit: int = 10, *, kind: DueQueue = DueQueue.ALL
) -> list[str]:
    rows = await database.write(lambda c: instances.claim(c, NOW, limit, LEASE, kind=kind))
    return [row.id for row in rows]


async def _next_due_at(
    database: Database, now: datetime = NOW, *, kind: DueQueue = DueQueue.ALL
) -> datetime | None:
    return await database.read(lambda c: instances.next_due_at(c, now, kind=kind))


async def test_the_longest_due_come_first_and_no_more_than_there_is_room_for(
    database: Database,
) -> None:
    await stored(
        database,
        an_instance(1, due_at=NOW),
        an_instance(2, due_at=NOW - 9 * SECOND),
        an_instance(3, due_at=NOW - 5 * SECOND),
    )
    assert await _claimed(database, limit=2) == ["ins_000002", "ins_000003"]
    assert await _claimed(database) == ["ins_000001"]


async def test_what_is_due_later_or_never_is_left_alone(database: Database) -> None:
    await stored(database, an_instance(1, due_at=NOW + SECOND), an_instance(2, due_at=None))
    assert await _claimed(database) == []


async def test_a_claimed_instance_is_returned_without_its_environment_values(
    database: Database,
) -> None:
    await stored(database, an_instance(1, order={"envs": {"KEY": "value"}}))
    (row,) = await database.write(lambda c: instances.claim(c, NOW, 1, LEASE))
    assert row == an_instance(1)


async def test_a_row_that_cannot_be_read_is_leased_and_told_of_and_holds_up_nobody(
    database: Database,
) -> None:
    await stored(database, an_instance(1, due_at=NOW - SECOND), an_instance(2))

    def spoil(connection: Connection) -> None:
        body = func.replace(tables.instances.c.body, '"desired":"running"', '"desired":"resting"')
        row = update(tables.instances).where(tables.instances.c.id == "ins_000001")
        connection.execute(row.values(body=body))

    await database.write(spoil)
    told: list[tuple[str, str]] = []
    rows = await database.write(
        lambda c: instances.claim(c, NOW, 2, LEASE, on_unreadable=lambda *what: told.append(what))
    )
    assert [row.id for row in rows] == ["ins_000002"]
    assert [instance_id for instance_id, _ in told] == ["ins_000001"]
    assert told[0][1].startswith("desired: ")
    assert await _claimed(database) == []
    assert await _next_due_at(database) is None


@pytest.mark.parametrize(
    ("due_in", "expected"),
    [([], None), ([None], None), ([None, 60, 7], 7), ([-5, 7], -5)],
)
async def test_the_next_due_time_is_the_earliest_of_all(
    database: Database, due_in: list[int | None], expected: int | None
) -> None:
    rows = [
        an_instance(number, due_at=None if seconds is None else NOW + seconds * SECOND)
        for number, seconds in enumerate(due_in)
    ]
    await stored(database, *rows)
    wanted = None if expected is None else NOW + expected * SECOND
    assert await _next_due_at(database) == wanted


async def test_a_row_that_someone_works_on_is_not_waited_for(database: Database) -> None:
    await stored(database, an_instance(1), an_instance(2, due_at=NOW + 60 * SECOND))
    await database.write(lambda c: instances.claim(c, NOW, 1, OTHER_LEASE))
    assert await _next_due_at(database) == NOW + 60 * SECOND
    assert await _next_due_at(database, NOW + 20 * SECOND) == NOW


async def test_orders_and_machines_are_claimed_apart(database: Database) -> None:
    await stored(
        database,
        an_instance(1, due_at=NOW - SECOND),
        an_instance(2, due_at=NOW - 2 * SECOND, status=Status.STARTING),
    )
    assert await _next_due_at(database, kind=DueQueue.ORDERS) == NOW - SECOND
    assert await _next_due_at(database, kind=DueQueue.MACHINES) == NOW - 2 * SECOND
    assert await _claimed(database, kind=DueQueue.ORDERS) == ["ins_000001"]
    assert await _next_due_at(database, kind=DueQueue.ORDERS) is None
    assert await _claimed(database, kind=DueQueue.ORDERS) == []
    assert await _claimed(database, kind=DueQueue.MACHINES) == ["ins_000002"]
