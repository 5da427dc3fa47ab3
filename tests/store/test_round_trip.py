"""What is stored comes back as it was: every field of every noun, times and money to the digit."""

import dataclasses
import json
import types
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.dialects import sqlite

from gpukeeper.domain.instances import Instance, Order
from gpukeeper.domain.machines import Observation
from gpukeeper.store import facts, instances, orphans, tables
from gpukeeper.store.db.database import Connection, Database, StoreError
from gpukeeper.store.facts import SweepState
from gpukeeper.store.tables import UtcTime
from tests.store.rows import NOW, SEAL, SILENT, an_instance, changed, found, stored

_VALUES: dict[type, Any] = {
    str: "tëxt 'with' \"quotes\"\n\x7f",
    int: 7,
    bool: True,
    float: 0.1,
    Decimal: Decimal("0.1750"),
    datetime: datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    timedelta: timedelta(days=1, seconds=2, microseconds=3),
}


def _filled(kind: Any) -> Any:
    """Return a value of a type in which nothing is empty."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _filled(arguments[0])
    if origin is tuple:
        return (_filled(arguments[0]),)
    if origin is Mapping:
        return {"key": _filled(arguments[1])}
    if kind in _VALUES:
        return _VALUES[kind]
    if issubclass(kind, Enum):
        return list(kind)[-1]
    hints = get_type_hints(kind)
    return kind(**{field.name: _filled(hints[field.name]) for field in dataclasses.fields(kind)})


FULL: Instance = _filled(Instance)
FULL_WITHOUT_ENVS = replace(FULL, order=replace(FULL.order, envs={}))


async def test_every_field_of_an_instance_comes_back(database: Database) -> None:
    await stored(database, FULL)
    assert await found(database, FULL.id) == FULL_WITHOUT_ENVS
    envs = await database.read(lambda c: instances.read_envs(c, FULL.id, SEAL))
    assert envs == FULL.order.envs


async def test_every_field_of_an_instance_can_change(database: Database) -> None:
    await stored(database, an_instance(1))
    after = replace(FULL_WITHOUT_ENVS, id="ins_000001", novita_name=an_instance(1).novita_name)
    await changed(database, "ins_000001", lambda row: after)
    assert await found(database, "ins_000001") == after


async def test_money_keeps_its_digits(database: Database) -> None:
    price = Decimal("0.17500")
    await stored(database, an_instance(1, price_per_hour=price, novita_id="nv1"))
    assert str((await found(database, "nv1")).machine.price_per_hour) == "0.17500"
    assert await database.read(instances.sum_spend_per_hour) == price


async def test_every_field_of_an_orphan_comes_back(database: Database) -> None:
    machine: Observation = _filled(Observation)
    await database.write(lambda c: orphans.record_listing(c, [machine], NOW))
    (orphan,) = await database.read(orphans.list_all)
    assert orphan.machine == machine


async def test_every_field_of_the_looks_comes_back(database: Database) -> None:
    looks: SweepState = _filled(SweepState)
    await database.write(lambda c: facts.store_state(c, looks))
    assert await database.read(facts.find_state) == looks


async def test_a_row_of_an_older_or_newer_version_can_be_read(database: Database) -> None:
    def rewrite(connection: Connection) -> None:
        table = tables.instances
        body = json.loads(connection.scalar(select(table.c.body)) or "")
        body["of_tomorrow"] = {"x": 1}
        del body["doubts"], body["order"]["labels"]
        connection.execute(update(table).values(body=json.dumps(body)))

    await stored(database, an_instance(1))
    await database.write(rewrite)
    assert await found(database, "ins_000001") == an_instance(1)


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_of_any_zone_is_stored_as_the_same_moment_in_utc(at: datetime) -> None:
    dialect = sqlite.dialect()
    stored_as = UtcTime().process_bind_param(at, dialect)
    assert isinstance(stored_as, int)
    back = UtcTime().process_result_value(stored_as, dialect)
    assert back == at.astimezone(UTC)
    assert back is not None
    assert back.tzinfo is UTC


async def test_moments_of_different_zones_are_ordered_as_they_happened(
    database: Database,
) -> None:
    east = NOW.astimezone(timezone(timedelta(hours=8)))
    west = NOW.astimezone(timezone(timedelta(hours=-8)))
    await stored(
        database,
        an_instance(1, due_at=west + timedelta(seconds=1)),
        an_instance(2, due_at=east - timedelta(seconds=1)),
    )
    assert await database.read(lambda c: instances.next_due_at(c, east)) == east - timedelta(
        seconds=1
    )


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(StoreError, match="offset-naive"):
        await stored(database, an_instance(1, due_at=naive))
    assert await database.read(lambda c: instances.find(c, "ins_000001")) is None


async def test_an_order_with_nothing_but_the_necessary_comes_back(database: Database) -> None:
    bare = an_instance(1, order=dataclasses.asdict(Order("a", "b", "c")))
    await database.write(lambda c: instances.add(c, bare, SEAL, SILENT))
    assert await found(database, bare.id) == bare
