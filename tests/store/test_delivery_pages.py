"""Pages of deliveries: newest first, each once, narrowed by status and instance."""

from collections.abc import Sequence
from datetime import datetime

import pytest

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Status
from gpukeeper.store import deliveries
from gpukeeper.store.db.database import Database
from gpukeeper.store.outbox import Outbox
from tests.store.rows import HOOK, an_instance, an_outbox, became, claimed, stored, tried


async def _page(
    database: Database,
    *,
    status: DeliveryStatus | None = None,
    instance_id: str | None = None,
    before: int | None = None,
    limit: int = 10,
) -> tuple[list[str], int | None]:
    rows, following = await database.read(
        lambda c: deliveries.list_page(
            c, status=status, instance_id=instance_id, before=before, limit=limit
        )
    )
    return [f"{row.event.instance_id} {row.event.type.value[9:]}" for row in rows], following


@pytest.fixture
async def five(database: Database) -> None:
    """Store five deliveries: three of one instance, two of another."""
    await stored(database, an_instance(1), an_instance(2))
    outbox = an_outbox(HOOK)
    await became(database, "ins_000001", Status.CREATING, outbox=outbox)
    await became(database, "ins_000002", Status.CREATING, outbox=outbox)
    await became(database, "ins_000001", Status.RUNNING, Status.STOPPED, outbox=outbox)
    await became(database, "ins_000002", Status.RUNNING, outbox=outbox)


NEWEST_FIRST = [
    "ins_000002 running",
    "ins_000001 stopped",
    "ins_000001 running",
    "ins_000002 created",
    "ins_000001 created",
]


async def test_a_store_without_deliveries_has_an_empty_page(database: Database) -> None:
    assert await _page(database) == ([], None)


@pytest.mark.usefixtures("five")
async def test_pages_follow_each_other_newest_first(database: Database) -> None:
    seen: list[str] = []
    before: int | None = None
    while True:
        rows, before = await _page(database, before=before, limit=2)
        seen += rows
        if before is None:
            break
    assert seen == NEWEST_FIRST
    assert await _page(database, limit=5) == (NEWEST_FIRST, None)


async def test_those_of_one_moment_are_in_the_order_of_their_events(database: Database) -> None:
    await stored(database, an_instance(1))
    ids = iter(["evt_9", "dlv_9", "evt_1", "dlv_1", "evt_5", "dlv_5"])

    def next_id(_prefix: str, _at: datetime) -> str:
        return next(ids)

    outbox = Outbox((HOOK,), 3, next_id)
    statuses: Sequence[Status] = (Status.CREATING, Status.RUNNING, Status.STOPPED)
    for status in statuses:
        await became(database, "ins_000001", status, outbox=outbox)
    rows, _ = await _page(database)
    assert rows == ["ins_000001 stopped", "ins_000001 running", "ins_000001 created"]


@pytest.mark.usefixtures("five")
async def test_an_instance_narrows_the_page(database: Database) -> None:
    of_second = ["ins_000002 running", "ins_000002 created"]
    assert await _page(database, instance_id="ins_000002") == (of_second, None)
    assert await _page(database, instance_id="ins_404") == ([], None)


@pytest.mark.usefixtures("five")
async def test_a_status_narrows_the_page(database: Database) -> None:
    for delivery in await claimed(database):
        await tried(database, delivery)
    delivered = ["ins_000002 created", "ins_000001 created"]
    assert await _page(database, status=DeliveryStatus.DELIVERED) == (delivered, None)
    pending, following = await _page(database, status=DeliveryStatus.PENDING, limit=2)
    assert pending == NEWEST_FIRST[:2]
    rest = await _page(database, status=DeliveryStatus.PENDING, before=following)
    assert rest == (NEWEST_FIRST[2:3], None)
    assert await _page(database, status=DeliveryStatus.ENDED) == ([], None)


@pytest.mark.usefixtures("five")
async def test_status_and_instance_narrow_together(database: Database) -> None:
    rows, _ = await _page(database, status=DeliveryStatus.PENDING, instance_id="ins_000001")
    assert rows == [NEWEST_FIRST[1], NEWEST_FIRST[2], NEWEST_FIRST[4]]
