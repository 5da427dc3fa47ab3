"""Removing what is old: a little at a time, by one process at a time, and told in metrics."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from gpukeeper.domain import ids
from gpukeeper.engine.retention import Retention
from gpukeeper.store import retention as store
from gpukeeper.store import tables
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import get_logger
from tests.engine.conftest import Build
from tests.engine.rig import EPOCH, Rig

KEEP = timedelta(days=90)
HOUR = timedelta(hours=1)
REST = timedelta(seconds=0.5)


@dataclass(slots=True)
class Keeper:
    """What removes rows on the database of a rig, and what it has removed."""

    rig: Rig
    name: str = "one"
    removed: list[Mapping[str, int]] = field(default_factory=list)

    def build(self) -> Retention:
        return Retention(
            database=self.rig.database,
            keep=KEEP,
            clock=self.rig.clock,
            new_token=lambda: self.name,
            on_removed=self.removed.append,
            log=get_logger("test"),
        )


async def store_events(rig: Rig, count: int) -> None:
    """Store so many events that nobody is told of."""
    outbox = Outbox((), 3, lambda prefix, at: ids.new_id(prefix, at, secrets.token_bytes(10)))
    await rig.database.write(
        lambda c: [outbox.record_test(c, [], rig.clock()) for _ in range(count)]
    )


async def events_left(rig: Rig) -> int:
    """Return how many events there are."""
    count = select(func.count()).select_from(tables.events)
    return await rig.database.read(lambda c: c.scalar(count)) or 0


async def test_the_oldest_go_first_a_portion_at_a_turn(rig: Rig) -> None:
    keeper = Keeper(rig)
    await store_events(rig, 250)
    rig.clock.at += KEEP + HOUR
    await store_events(rig, 2)
    retention = keeper.build()
    left: list[int] = []
    while (next_at := await retention.turn()) == rig.clock() + REST:
        rig.clock.at = next_at
        left.append(await events_left(rig))
    assert left == [252, 152, 52, 2]
    assert next_at == EPOCH + KEEP + 2 * HOUR
    assert keeper.removed == [{"events": 100}, {"events": 100}, {"events": 50}]


async def test_nothing_is_written_while_nothing_is_old(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_events(rig, 3)
    monkeypatch.setattr(store, "remove_events", None)
    retention = Keeper(rig).build()
    assert await retention.turn() == rig.clock() + REST
    assert await retention.turn() == await retention.turn() == EPOCH + HOUR
    facts = await rig.database.read(lambda c: c.scalars(select(tables.facts.c.key)).all())
    assert "removing" not in facts


async def test_of_two_processes_one_removes_and_the_other_comes_when_that_one_is_silent(
    rig: Rig,
) -> None:
    one, other = Keeper(rig), Keeper(rig, "other")
    await store_events(rig, 250)
    rig.clock.at += KEEP + HOUR
    first, second = one.build(), other.build()
    for _ in range(2):
        await first.turn()
    await second.turn()
    silent_at = rig.clock() + timedelta(seconds=20)
    assert await second.turn() == silent_at
    assert (one.removed, other.removed) == ([{"events": 100}], [])
    rig.clock.at = silent_at
    for _ in range(4):
        await second.turn()
    assert other.removed == [{"events": 100}, {"events": 50}]


async def test_a_clock_that_was_set_back_begins_a_new_round(rig: Rig) -> None:
    keeper = Keeper(rig)
    retention = keeper.build()
    rig.clock.at += 10 * KEEP
    for _ in range(2):
        await retention.turn()
    rig.clock.at = EPOCH
    await store_events(rig, 1)
    rig.clock.at += KEEP + HOUR
    for _ in range(2):
        await retention.turn()
    assert keeper.removed == [{"events": 1}]


async def test_the_engine_removes_what_the_setting_says(build: Build) -> None:
    rig = build(environ={"GPUKEEPER_RETENTION": "0.5"})
    assert rig.engine.retention is not None
    await store_events(rig, 2)
    rig.clock.at += timedelta(days=0.4)
    for _ in range(2):
        await rig.engine.retention.turn()
    assert await events_left(rig) == 2
    rig.clock.at += timedelta(days=0.2)
    for _ in range(2):
        await rig.engine.retention.turn()
    assert await events_left(rig) == 0


async def test_a_retention_of_nothing_keeps_everything(build: Build) -> None:
    rig = build(environ={"GPUKEEPER_RETENTION": "0"})
    assert rig.engine.retention is None
    assert "retention" not in [loop.name for loop in rig.engine.loops]
