"""How SQLite finds rows: no statement of the background work reads a whole table.

Plans do not depend on how many rows there are, so an empty database shows them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event

from gpukeeper.domain.deliveries import DeliveryAttempt, DeliveryStatus, RetryPolicy, record_attempt
from gpukeeper.domain.fairness import Capacity
from gpukeeper.domain.instances import Status
from gpukeeper.store import (
    deliveries,
    events,
    idempotency,
    instances,
    leases,
    pagination,
    retention,
    tables,
    timelines,
)
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.instances import DueQueue
from tests.store.rows import (
    HOOK,
    LEASE,
    NOW,
    PLENTY,
    SECOND,
    an_instance,
    an_outbox,
    became,
    stored,
)

Unit = Callable[[Connection], Any]


@pytest.fixture
def kind() -> str:
    """Return the kind whose plans these are: PostgreSQL's depend on how many rows there are."""
    return "sqlite"


_ROOM = Capacity(10, 10, {"busy.example:443": 1}, prompt=["quick.example:443"])
_UNITS: dict[str, Unit] = {
    "find": lambda c: instances.find(c, "ins_000001"),
    "envs_of": lambda c: c.execute(
        tables.instances.select().where(tables.instances.c.id == "ins_000001")
    ),
    "change": lambda c: instances.change(
        c, "ins_000001", lambda row: replace(row, status=Status.LOST), NOW, an_outbox(HOOK)
    ),
    "claim": lambda c: instances.claim(c, NOW + SECOND, 10, LEASE),
    "claim orders": lambda c: instances.claim(c, NOW + SECOND, 10, LEASE, kind=DueQueue.ORDERS),
    "claim machines": lambda c: instances.claim(c, NOW + SECOND, 10, LEASE, kind=DueQueue.MACHINES),
    "next_due_at": lambda c: instances.next_due_at(c, NOW),
    "next order": lambda c: instances.next_due_at(c, NOW, kind=DueQueue.ORDERS),
    "next machine": lambda c: instances.next_due_at(c, NOW, kind=DueQueue.MACHINES),
    "waiting instances": lambda c: instances.count_due(c, NOW),
    "waiting deliveries": lambda c: deliveries.count_due(c, NOW),
    "watched": instances.list_sweep_rows,
    "count_by_status": instances.count_by_status,
    "spend_per_hour": instances.sum_spend_per_hour,
    "count_notified": instances.count_notified,
    "undelivered": lambda c: deliveries.count_undelivered(c, NOW),
    "page of attention": lambda c: pagination.list_page(
        c,
        statuses=[Status.FAILED, Status.LOST],
        has_refused=False,
        has_notified=True,
        name=None,
        before=None,
        limit=10,
    ),
    "named": lambda c: instances.find_by_novita_names(c, ["a", "b"]),
    "known_machines": lambda c: instances.find_known_novita_ids(c, ["a", "b"]),
    "ended_among": lambda c: instances.find_gone(c, ["a", "b"]),
    "page by status": lambda c: pagination.list_page(
        c, statuses=[Status.RUNNING], name=None, before=None, limit=10
    ),
    "page after another": lambda c: pagination.list_page(c, name=None, before=9, limit=10),
    "renew instances": lambda c: leases.renew(c, tables.instances, {"a": "b"}, NOW),
    "release": lambda c: leases.release(c, tables.instances, "a", "b"),
    "release_all instances": lambda c: leases.release_all(c, tables.instances),
    "claim deliveries": lambda c: deliveries.claim(c, NOW + SECOND, LEASE, room=_ROOM),
    "next delivery": lambda c: deliveries.next_due_at(c, NOW, room=_ROOM),
    "next prompt delivery": lambda c: deliveries.next_due_at(
        c, NOW, room=replace(_ROOM, workers=0)
    ),
    "renew deliveries": lambda c: leases.renew(c, tables.deliveries, {"a": "b"}, NOW),
    "release_all deliveries": lambda c: leases.release_all(c, tables.deliveries),
    "events since": lambda c: events.list_since(c, 9, 10),
    "old deliveries": lambda c: retention.old_deliveries(c, NOW, "", 10),
    "old events": lambda c: retention.old_events(c, NOW, "", 10),
    "remove deliveries": lambda c: retention.remove_deliveries(c, [1, 2], NOW),
    "remove events": lambda c: retention.remove_events(c, [1, 2], NOW),
    "find delivery": lambda c: deliveries.find(c, "dlv"),
    "attempts_of": lambda c: deliveries.list_attempts(c, "dlv"),
    "deliveries of an instance": lambda c: deliveries.list_page(
        c, status=None, instance_id="ins_000001", before=None, limit=10
    ),
    "deliveries after others": lambda c: deliveries.list_page(
        c, status=None, instance_id=None, before=9, limit=10
    ),
    "redeliver": lambda c: deliveries.redeliver(c, "dlv", NOW, 3),
    "pending": deliveries.count_pending,
    "history": lambda c: events.list_of_instance(c, "ins_000001"),
    "lives of a page": lambda c: timelines.find_statuses(c, ["ins_000001", "ins_000002"]),
    "lives lately": lambda c: timelines.list_since(c, NOW),
    "idempotency": lambda c: idempotency.find_instance_id(c, "key", "hash"),
}


def _finish(connection: Connection, *, is_gone: bool = False) -> None:
    (delivery,) = deliveries.claim(connection, NOW, LEASE, room=PLENTY)
    tried = record_attempt(
        delivery,
        is_delivered=not is_gone,
        is_gone=is_gone,
        retry_after=None,
        now=NOW,
        policy=RetryPolicy(),
        random=0.5,
    )
    assert tried.status is (DeliveryStatus.ENDED if is_gone else DeliveryStatus.DELIVERED)
    attempt = DeliveryAttempt(1, NOW, SECOND, 410 if is_gone else 200, None, "")
    deliveries.finish(connection, tried, attempt, LEASE.token)


_FINISHES: dict[str, Unit] = {"finish": _finish, "finish gone": partial(_finish, is_gone=True)}


async def _plans(database: Database, unit: Unit) -> list[str]:
    """Run a unit and return the plan of each of its statements, one line per step."""
    statements: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        if statement.split()[0] in {"SELECT", "UPDATE", "DELETE", "WITH"}:
            statements.append((statement, parameters))

    def explain(connection: Connection) -> list[str]:
        return [
            f"{step[3]}"
            for statement, parameters in statements
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]

    event.listen(database.engine, "before_cursor_execute", note)
    await database.write(unit)
    event.remove(database.engine, "before_cursor_execute", note)
    assert statements
    return await database.write(explain)


def _reads_a_whole_table(step: str) -> bool:
    words = step.split()
    is_table = len(words) > 1 and words[1] in {*tables.metadata.tables, "taken"}
    return is_table and (words[0] == "SCAN" or len(words) == 2) and "USING" not in words


@pytest.mark.parametrize("name", [*_UNITS, *_FINISHES])
async def test_no_unit_of_the_background_work_reads_a_whole_table(
    database: Database, name: str
) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    plans = await _plans(database, (_UNITS | _FINISHES)[name])
    assert [step for step in plans if _reads_a_whole_table(step)] == []


async def test_the_share_of_each_receiver_is_found_in_its_index_alone(database: Database) -> None:
    index = "SEARCH deliveries USING INDEX ix_deliveries_receiver"
    plans = await _plans(database, _UNITS["claim deliveries"])
    for bounds in ("", " (receiver>?)", " (receiver=? AND due_at>? AND due_at<?)"):
        assert f"{index}{bounds}" in [plan.replace("COVERING ", "") for plan in plans], plans
    for name in ("next delivery", "next prompt delivery"):
        plans = await _plans(database, _UNITS[name])
        for bounds in ("", " (receiver>?)", " (receiver=? AND due_at>?)"):
            assert f"{index}{bounds}" in [plan.replace("COVERING ", "") for plan in plans], plans


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("claim", "ix_instances_due_at"),
        ("claim orders", "ix_instances_status_due_at"),
        ("claim machines", "ix_instances_due_at"),
        ("next_due_at", "ix_instances_due_at"),
        ("next order", "ix_instances_status_due_at"),
        ("next machine", "ix_instances_due_at"),
        ("page by status", "ix_instances_status"),
        ("waiting instances", "ix_instances_due_at"),
        ("waiting deliveries", "ix_deliveries_receiver"),
        ("watched", "ix_instances_watched"),
        ("spend_per_hour", "ix_instances_micro_usd_now"),
        ("count_notified", "ix_instances_spot_notice"),
        ("undelivered", "ix_deliveries_exhausted"),
        ("release_all instances", "ix_instances_lease_token"),
        ("next delivery", "ix_deliveries_receiver"),
        ("change", "ix_deliveries_lane"),
        ("finish", "ix_deliveries_lane"),
        ("finish gone", "ix_deliveries_url"),
    ],
)
async def test_a_statement_uses_the_index_that_is_there_for_it(
    database: Database, name: str, index: str
) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    plans = await _plans(database, (_UNITS | _FINISHES)[name])
    assert any(f" INDEX {index} (" in step or step.endswith(index) for step in plans), plans


@pytest.mark.parametrize(
    "name",
    [
        "claim",
        "claim orders",
        "claim machines",
        "next order",
        "next machine",
        "page by status",
        "page after another",
    ],
)
async def test_rows_are_read_in_the_order_that_they_are_wanted_in(
    database: Database, name: str
) -> None:
    plans = await _plans(database, _UNITS[name])
    assert not any("FOR ORDER BY" in step for step in plans), plans
