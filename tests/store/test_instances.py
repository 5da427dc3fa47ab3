"""Instances: added and changed together with event and deliveries, and found again."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event

from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import events as history
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection, Database, StoreError
from gpukeeper.store.instances import SweepRow
from tests.instances import edit
from tests.store.rows import (
    HOOK,
    LEASE,
    NOW,
    SEAL,
    SECOND,
    all_changed,
    an_instance,
    an_outbox,
    changed,
    every_delivery,
    found,
    stored,
)


async def _event_types(database: Database, instance_id: str = "ins_000001") -> list[str]:
    events = await database.read(lambda c: history.list_of_instance(c, instance_id))
    return [event.type.value for event in events]


def _become(status: Status) -> Callable[[Instance], Instance]:
    return lambda row: replace(row, status=status)


def _created(row: Instance) -> Instance:
    return edit(row, status=Status.CREATING, novita_id="nv1")


async def test_a_new_instance_is_stored_with_its_first_event(database: Database) -> None:
    await stored(database, an_instance(1), outbox=an_outbox(HOOK))
    assert await found(database, "ins_000001") == an_instance(1)
    assert await _event_types(database) == ["instance.requested"]


async def test_an_instance_is_found_by_our_id_and_by_novitas(database: Database) -> None:
    await stored(database, an_instance(1, novita_id="nv1"), an_instance(2))
    assert (await found(database, "ins_000001")).id == "ins_000001"
    assert (await found(database, "nv1")).id == "ins_000001"


@pytest.mark.parametrize("unknown", ["", "nv2", "ins_", "%", "trainer-1"])
async def test_what_is_no_id_finds_nothing(database: Database, unknown: str) -> None:
    await stored(database, an_instance(1, novita_id="nv1"))
    assert await database.read(lambda c: instances.find(c, unknown)) is None


async def test_a_change_is_stored_with_its_event_and_its_deliveries(database: Database) -> None:
    await stored(database, an_instance(1))
    at = NOW + SECOND
    change = await changed(database, "ins_000001", _created, outbox=an_outbox(HOOK), now=at)
    assert change.before == an_instance(1)
    assert change.after == await found(database, "ins_000001") == _created(an_instance(1))
    assert await _event_types(database) == ["instance.requested", "instance.created"]
    (delivery,) = await every_delivery(database)
    assert delivery.event.data["instance"]["status"] == "creating"
    assert delivery.event.data["previousStatus"] == "requested"
    assert delivery.event.at == delivery.due_at == at


async def test_a_crash_after_the_change_leaves_neither_row_nor_event_nor_delivery(
    database: Database,
) -> None:
    def crash(connection: Connection) -> None:
        outbox = an_outbox(HOOK)
        instances.change(connection, "ins_000001", _created, NOW, outbox)
        raise ConnectionAbortedError

    await stored(database, an_instance(1))
    with pytest.raises(ConnectionAbortedError):
        await database.write(crash)
    assert await found(database, "ins_000001") == an_instance(1)
    assert await _event_types(database) == ["instance.requested"]
    assert await every_delivery(database) == []


@pytest.mark.parametrize("prefix", ["evt", "dlv"])
async def test_a_crash_between_row_event_and_deliveries_leaves_none_of_them(
    database: Database, prefix: str
) -> None:
    def no_id(asked: str, _at: object) -> str:
        if asked == prefix:
            raise ConnectionAbortedError
        return "evt_1"

    await stored(database, an_instance(1))
    with pytest.raises(ConnectionAbortedError):
        await changed(
            database, "ins_000001", _created, outbox=replace(an_outbox(HOOK), new_id=no_id)
        )
    assert await found(database, "ins_000001") == an_instance(1)
    assert await _event_types(database) == ["instance.requested"]
    assert await every_delivery(database) == []


async def test_an_order_whose_event_cannot_be_stored_is_not_stored(database: Database) -> None:
    def no_id(_prefix: str, _at: object) -> str:
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await stored(database, an_instance(1), outbox=replace(an_outbox(), new_id=no_id))
    assert await database.read(lambda c: instances.find(c, "ins_000001")) is None


async def test_a_change_that_changes_nothing_is_neither_written_nor_an_event(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    event.listen(database.engine, "before_cursor_execute", _refuse_to_write)
    change = await changed(database, "ins_000001", lambda row: row, outbox=an_outbox(HOOK))
    assert change.before == change.after
    assert await _event_types(database) == ["instance.requested"]


def _refuse_to_write(_connection: object, _cursor: object, statement: str, *_: object) -> None:
    assert statement.split()[0] in {"BEGIN", "SELECT"}


async def test_rows_that_change_together_are_stored_in_the_order_of_their_ids(
    database: Database,
) -> None:
    ids = [f"ins_{number:06}" for number in range(1001)]
    await stored(database, *(an_instance(number) for number in range(1001)))
    folds = {row_id: _become(Status.CREATING) for row_id in reversed(ids)}
    # One that stays as it is is neither written nor told of.
    folds["ins_000007"] = lambda row: row
    changes = await all_changed(database, folds, outbox=an_outbox(HOOK))
    assert [change.after.id for change in changes] == ids
    assert [change.after.status for change in changes[6:9]] == [
        Status.CREATING,
        Status.REQUESTED,
        Status.CREATING,
    ]
    counts = await database.read(instances.count_by_status)
    assert counts == {Status.CREATING: 1000, Status.REQUESTED: 1}
    told = [delivery.event for delivery in await every_delivery(database)]
    assert [event.instance_id for event in told] == [
        row_id for row_id in ids if row_id != "ins_000007"
    ]
    assert [event.number for event in told] == sorted({event.number for event in told})
    assert [event.data["instance"]["id"] for event in told] == [event.instance_id for event in told]
    assert await _event_types(database) == ["instance.requested", "instance.created"]


async def test_when_one_of_the_rows_is_not_held_none_is_changed(database: Database) -> None:
    await stored(database, an_instance(1, due_at=NOW), an_instance(2))
    await database.write(lambda c: instances.claim(c, NOW, 1, LEASE))
    ids = ("ins_000001", "ins_000002")
    folds = dict.fromkeys(ids, _become(Status.CREATING))
    with pytest.raises(LeaseLost):
        await all_changed(database, folds, lease_token=LEASE.token)
    with pytest.raises(LeaseLost):
        await all_changed(database, folds | {"ins_404": lambda row: row})
    assert await database.read(instances.count_by_status) == {Status.REQUESTED: 2}
    held = {"ins_000001": folds["ins_000001"]}
    (change,) = await all_changed(database, held, lease_token=LEASE.token)
    assert change.after.status is Status.CREATING


async def test_no_row_is_no_change(database: Database) -> None:
    assert await all_changed(database, {}) == []


async def test_changes_at_the_same_time_are_all_kept(database: Database) -> None:
    await stored(database, an_instance(1))

    def fail_once_more(row: Instance) -> Instance:
        return edit(row, failures=row.watch.failures + 1)

    def miss_once_more(row: Instance) -> Instance:
        return edit(row, misses=row.watch.misses + 1)

    folds = [fail_once_more, miss_once_more] * 40
    await asyncio.gather(*(changed(database, "ins_000001", fold) for fold in folds))
    row = await found(database, "ins_000001")
    assert (row.watch.failures, row.watch.misses) == (40, 40)


async def test_a_machine_belongs_to_one_instance_only(database: Database) -> None:
    await stored(database, an_instance(1, novita_id="nv1"), an_instance(2))
    with pytest.raises(StoreError):
        await changed(database, "ins_000002", lambda row: edit(row, novita_id="nv1"))
    assert (await found(database, "ins_000002")).machine.novita_id is None


async def test_environment_values_stay_with_their_instance_through_changes(
    database: Database,
) -> None:
    await stored(database, an_instance(1, order={"envs": {"TOKEN": "hush"}}), an_instance(2))
    await changed(database, "ins_000001", _created)
    assert (await found(database, "ins_000001")).order.envs == {}
    envs = await database.read(
        lambda c: [instances.read_envs(c, i, SEAL) for i in ("ins_000001", "ins_000002")]
    )
    assert envs == [{"TOKEN": "hush"}, {}]


async def test_a_look_is_told_of_every_machine_that_may_exist(database: Database) -> None:
    await stored(
        database,
        an_instance(1),
        an_instance(2, novita_id="nv2", status=Status.RUNNING, seen_fingerprint="abc"),
        an_instance(3, novita_id="nv3", status=Status.DELETED, gone_at=NOW),
        an_instance(4, novita_id="nv4", status=Status.FAILED),
    )
    rows = await database.read(instances.list_sweep_rows)
    assert sorted(rows, key=lambda row: row.id) == [
        SweepRow("ins_000002", "nv2", Status.RUNNING, "abc"),
        SweepRow("ins_000004", "nv4", Status.FAILED, None),
    ]


async def test_instances_are_counted_by_status(database: Database) -> None:
    assert await database.read(instances.count_by_status) == {}
    await stored(database, an_instance(1), an_instance(2), an_instance(3, status=Status.RUNNING))
    counts = await database.read(instances.count_by_status)
    assert counts == {Status.REQUESTED: 2, Status.RUNNING: 1}


async def test_what_all_machines_cost_leaves_out_those_at_rest_and_those_that_are_gone(
    database: Database,
) -> None:
    assert await database.read(instances.sum_spend_per_hour) == 0
    price: dict[str, Any] = {"price_per_hour": Decimal("0.175001")}
    await stored(
        database,
        an_instance(1, novita_id="nv1", status=Status.RUNNING, **price),
        an_instance(2, novita_id="nv2", status=Status.FAILED, **price),
        an_instance(3, novita_id="nv3", status=Status.DELETING),
        an_instance(4, novita_id="nv4", status=Status.STOPPED, **price),
        an_instance(5, novita_id="nv5", status=Status.RECLAIMED, **price),
        an_instance(6, novita_id="nv6", status=Status.LOST, gone_at=NOW, **price),
        an_instance(7, status=Status.REQUESTED, **price),
    )
    assert await database.read(instances.sum_spend_per_hour) == Decimal("0.350002")


async def test_rows_are_found_by_the_exact_names_of_their_machines(database: Database) -> None:
    first, second = an_instance(1), an_instance(2, status=Status.DELETED, due_at=None)
    await stored(database, first, second, an_instance(3))
    wanted = [first.novita_name, second.novita_name, first.novita_name[:-1], "stranger"]
    found = await database.read(lambda c: instances.find_by_novita_names(c, wanted))
    assert found == {first.novita_name: first, second.novita_name: second}


async def test_rows_are_found_by_any_number_of_names(database: Database) -> None:
    await stored(database, an_instance(1))
    names = [f"stranger-{number}" for number in range(40_000)] + [an_instance(1).novita_name]
    assert (
        list(await database.read(lambda c: instances.find_by_novita_names(c, names))) == names[-1:]
    )


async def test_known_machines_are_told_from_strangers_in_a_fleet_of_any_size(
    database: Database,
) -> None:
    await stored(
        database,
        an_instance(1, novita_id="nv1"),
        an_instance(2, novita_id="nv2", gone_at=NOW),
        an_instance(3),
    )
    strangers = [f"stranger-{number}" for number in range(40_000)]
    machines = ["nv1", *strangers, "nv2"]
    assert await database.read(lambda c: instances.find_known_novita_ids(c, machines)) == {
        "nv1",
        "nv2",
    }
    assert await database.read(lambda c: instances.find_known_novita_ids(c, [])) == set()


async def test_rows_whose_machine_counts_as_gone_are_told_by_its_id(database: Database) -> None:
    await stored(
        database,
        an_instance(1, novita_id="nv1"),
        an_instance(2, novita_id="nv2", gone_at=NOW),
        an_instance(3, novita_id="nv3", gone_at=NOW),
    )
    machines = ["nv1", "nv2", *(f"stranger-{number}" for number in range(40_000))]
    ended = await database.read(lambda c: instances.find_gone(c, machines))
    assert ended == {"ins_000002": "nv2"}
