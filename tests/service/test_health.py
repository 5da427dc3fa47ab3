"""How the service is: its loops, its store, and how Novita answered last."""

import asyncio
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, text

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.instances import Status
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.service.health import (
    MIN_FREE_BYTES,
    Disk,
    Health,
    Heartbeat,
    Vitals,
    examine_health,
    take_census,
)
from gpukeeper.store import facts, instances, migrations, orphans
from gpukeeper.store.db.database import Database
from gpukeeper.store.facts import SweepState
from gpukeeper.store.leases import Lease
from tests.store.newer.programs import additive, breaking
from tests.store.rows import HOOK, NOW, SECOND, an_instance, an_outbox, became, stored

BEAT = Heartbeat("look", NOW, 20 * SECOND, is_running=True)


async def _health(database: Database, *beats: Heartbeat, now: datetime = NOW) -> Health:
    return await examine_health(database, Vitals(beats), now, about={"version": "1", "role": "all"})


async def _body(database: Database, **looks: Any) -> dict[str, Any]:
    if looks:
        await database.write(lambda c: facts.store_state(c, SweepState(**looks)))
    return (await _health(database)).body


async def test_a_service_whose_loops_turn_is_ready(database: Database) -> None:
    health = await _health(database, BEAT, replace(BEAT, loop="deliver"))
    assert health.is_ready
    assert health.problems == ()
    assert health.body["status"] == "ready"
    assert health.body["version"] == "1"
    at = "2026-01-01T12:30:15.123Z"
    assert health.body["loops"] == [
        {"name": "look", "lastTurnAt": at},
        {"name": "deliver", "lastTurnAt": at},
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"is_running": False}, "the look loop has ended"),
        ({"beat_at": None}, "the look loop has not turned yet"),
        ({"beat_at": NOW - 21 * SECOND}, "the look loop has been silent for 21 s"),
    ],
)
async def test_a_loop_that_does_not_turn_is_named(
    database: Database, change: dict[str, Any], problem: str
) -> None:
    health = await _health(database, replace(BEAT, **change), replace(BEAT, loop="deliver"))
    assert not health.is_ready
    assert health.problems == (problem,)
    assert health.body["status"] == "not ready"
    assert health.body["problems"] == [problem]


async def test_a_loop_may_be_silent_for_as_long_as_it_says(database: Database) -> None:
    assert (await _health(database, BEAT, now=NOW + 20 * SECOND)).is_ready


async def test_a_database_that_cannot_be_read_is_named_and_the_rest_is_shown(
    database: Database,
) -> None:
    await database.write(lambda c: c.execute(text("DROP TABLE facts")).close())
    health = await _health(database, BEAT)
    assert health.problems == ("the database cannot be read: no such table: facts",)
    assert "novita" not in health.body
    assert health.body["loops"] != []


async def test_what_can_be_neither_written_nor_read_is_said_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "Nothing can be stored at present: the database cannot be reached."

    async def fail(*_: object, **__: object) -> str:
        raise StoreUnavailable(sentence)

    async def tell(*_: object, **__: object) -> str:
        return sentence

    monkeypatch.setattr(database, "read", fail)
    monkeypatch.setattr(database, "trouble", tell)
    assert (await _health(database, BEAT)).problems == (sentence,)


async def test_a_database_that_does_not_answer_is_named_and_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(database, "read", hang)
    health = await examine_health(database, Vitals((BEAT,)), NOW, about={}, patience_seconds=0)
    assert health.problems == ("the database has not answered for 0 s",)


async def test_a_schema_that_this_program_cannot_work_on_is_named(database: Database) -> None:
    migrations.upgrade(database.engine, breaking())
    (problem,) = (await _health(database, BEAT)).problems
    assert "at revision 9002 of a newer gpukeeper 9.2.0" in problem


async def test_a_newer_schema_that_only_adds_is_fine(database: Database) -> None:
    migrations.upgrade(database.engine, additive())
    assert (await _health(database, BEAT)).is_ready


async def test_a_disk_without_room_is_named(database: Database) -> None:
    disks = (
        Disk("data directory", MIN_FREE_BYTES),
        Disk("logs", MIN_FREE_BYTES - 1),
        Disk("database", None),
    )
    health = await examine_health(database, Vitals((BEAT,), disks), NOW, about={})
    assert health.problems == (
        "the disk of the logs has 31 MiB left of the 32 that are needed",
        "the disk of the database cannot be examined",
    )
    assert health.body["disks"] == [
        {"name": "data directory", "freeBytes": 33_554_432},
        {"name": "logs", "freeBytes": 33_554_431},
        {"name": "database", "freeBytes": None},
    ]


async def test_what_is_brief_reads_no_table_of_rows(database: Database) -> None:
    statements: list[str] = []

    def read(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        statements.append(statement)

    event.listen(database._reader, "before_cursor_execute", read)
    health = await examine_health(database, Vitals((BEAT,)), NOW, about={}, is_brief=True)
    assert health.is_ready
    assert statements != []
    tables = {"instances", "deliveries", "events", "orphans"}
    assert not [text for text in statements if tables & set(text.split())]


async def test_before_the_first_look_nothing_is_said_of_novita(database: Database) -> None:
    assert (await _body(database))["novita"] == {
        "reachable": None,
        "error": None,
        "lastLookAt": None,
        "lastCompleteLookAt": None,
        "fleetVanished": False,
    }


async def test_novita_is_reachable_as_of_the_last_look(database: Database) -> None:
    body = await _body(database, tried_at=NOW, seen_at=NOW)
    assert body["novita"]["reachable"] is True
    body = await _body(database, tried_at=NOW + SECOND, seen_at=NOW, error="no answer", vanished=4)
    assert body["novita"] == {
        "reachable": False,
        "error": "no answer",
        "lastLookAt": "2026-01-01T12:30:16.123Z",
        "lastCompleteLookAt": "2026-01-01T12:30:15.123Z",
        "fleetVanished": True,
    }


async def test_novita_being_away_does_not_make_the_service_unready(database: Database) -> None:
    await _body(database, tried_at=NOW, error="no answer")
    assert (await _health(database, BEAT)).is_ready


async def test_what_there_is_and_what_is_owed_is_counted(database: Database) -> None:
    await stored(database, an_instance(1, due_at=None), an_instance(2, due_at=None), an_instance(3))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    machine = Observation("nv9", "x-gkte5t00000009", "running", Phase.UP, NOW)
    await database.write(lambda c: orphans.record_listing(c, [machine], NOW))
    body = await _body(database)
    assert body["instances"] == {"creating": 1, "requested": 2}
    assert body["orphans"] == 1
    assert body["queues"]["instances"] == {
        "due": 1,
        "oldestDueAt": "2026-01-01T12:30:15.123Z",
        "oldestDueSeconds": 0,
    }
    assert body["deliveries"] == {
        "pending": 1,
        "oldestAt": "2026-01-01T12:30:15.123Z",
        "exhaustedLastDay": 0,
    }


async def test_the_queues_tell_how_long_their_oldest_row_waits(database: Database) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))

    early = (await database.read(lambda c: take_census(c, NOW - SECOND))).queues
    late = (await database.read(lambda c: take_census(c, NOW + 30 * SECOND))).queues

    assert early.oldest_due_seconds == {"instances": 0, "deliveries": 0}
    assert late.deliveries_pending == 1
    assert late.oldest_due_seconds == {"instances": 30, "deliveries": 30}


async def test_what_is_due_later_is_not_overdue(database: Database) -> None:
    await stored(database, an_instance(1, due_at=NOW + SECOND))
    assert (await _body(database))["queues"]["instances"] == {
        "due": 0,
        "oldestDueAt": None,
        "oldestDueSeconds": 0,
    }


async def test_what_is_due_is_counted_by_queue_unless_somebody_works_on_it(
    database: Database,
) -> None:
    await stored(database, *(an_instance(number) for number in range(1, 5)))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    lease = Lease("mine", NOW + 60 * SECOND)
    await database.write(lambda c: instances.claim(c, NOW, 1, lease))
    queues = (await _health(database, BEAT, now=NOW + 30 * SECOND)).body["queues"]
    assert {name: (each["due"], each["oldestDueSeconds"]) for name, each in queues.items()} == {
        "instances": (3, 30),
        "deliveries": (1, 30),
    }


async def test_the_census_names_every_status_and_what_all_machines_cost(
    database: Database,
) -> None:
    price = Decimal("0.175")
    await stored(
        database,
        an_instance(1, status=Status.RUNNING, novita_id="nv1", price_per_hour=price),
        an_instance(2),
    )
    await database.write(lambda c: facts.store_state(c, SweepState(vanished=7)))
    census = await database.read(lambda c: take_census(c, NOW))
    assert census.vanished == 7
    assert set(census.by_status) == set(Status)
    assert {status: count for status, count in census.by_status.items() if count} == {
        Status.RUNNING: 1,
        Status.REQUESTED: 1,
    }
    assert census.spend_per_hour == price
    assert census.orphans == 0
