"""What instances went through, read without the bodies of events."""

import itertools
from datetime import timedelta
from decimal import Decimal
from typing import Any

from gpukeeper.domain import ids
from gpukeeper.domain.instances import Status
from gpukeeper.store import timelines
from gpukeeper.store.db.database import Database
from gpukeeper.store.outbox import Outbox
from tests.store.rows import NOW, SECOND, an_instance, became, stored

HOUR = timedelta(hours=1)


def _outbox() -> Outbox:
    """Return an outbox whose ids sort by time, as those of the program do."""
    return Outbox((), 3, lambda prefix, at: ids.new_id(prefix, at, next(_NUMBERS).to_bytes(10)))


_NUMBERS = itertools.count(1)


async def test_the_statuses_of_each_instance_are_in_order(database: Database) -> None:
    outbox = _outbox()
    await stored(database, an_instance(1), outbox=outbox)
    await stored(database, an_instance(2, created_at=NOW + HOUR), outbox=outbox)
    await became(database, "ins_000001", Status.CREATING, Status.RUNNING, outbox=outbox)

    found = await database.read(
        lambda c: timelines.find_statuses(c, ["ins_000001", "ins_000002", "no"])
    )

    assert found == {
        "ins_000001": (
            (Status.REQUESTED, NOW),
            (Status.CREATING, NOW),
            (Status.RUNNING, NOW + SECOND),
        ),
        "ins_000002": ((Status.REQUESTED, NOW + HOUR),),
    }


async def test_more_instances_than_a_statement_takes_are_read_in_portions(
    database: Database,
) -> None:
    await stored(database, an_instance(1), outbox=_outbox())

    found = await database.read(
        lambda c: timelines.find_statuses(c, ["ins_000001", *(f"no_{n}" for n in range(40_000))])
    )

    assert list(found) == ["ins_000001"]


async def test_lives_are_those_that_changed_lately_or_still_have_a_machine(
    database: Database,
) -> None:
    machine: dict[str, Any] = {
        "novita_id": "nv",
        "price_per_hour": Decimal("0.175"),
        "product_name": "RTX 3090",
    }
    await stored(
        database,
        an_instance(1, order={"product_name": "old and over"}),
        an_instance(2, **machine),
        an_instance(3, gone_at=NOW, **{**machine, "novita_id": "nv3"}),
        an_instance(4, created_at=NOW + 2 * HOUR, order={"product_name": "new"}),
        outbox=_outbox(),
    )

    found = await database.read(lambda c: timelines.list_since(c, NOW + HOUR))

    assert sorted((life.product_name, life.price_per_hour, life.gone_at) for life in found) == [
        ("RTX 3090", Decimal("0.175"), None),
        ("new", None, None),
    ]
