"""Facts about the deployment: its mark is chosen once, its looks are the last ones."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gpukeeper.store import facts
from gpukeeper.store.db.database import Database
from gpukeeper.store.facts import SKEW, Singleton, SweepState
from gpukeeper.store.leases import Lease
from tests.store.rows import NOW, SECOND


async def _mark(database: Database, proposed: str) -> str:
    return await database.write(lambda c: facts.ensure_mark(c, proposed))


async def test_the_first_mark_stays(database: Database) -> None:
    assert await _mark(database, "te5t") == "te5t"
    assert await _mark(database, "other") == "te5t"


async def test_of_processes_that_start_together_all_get_the_same_mark(
    database: Database,
) -> None:
    marks = await asyncio.gather(*(_mark(database, f"mk{number:02}") for number in range(20)))
    assert len(set(marks)) == 1


async def test_before_the_first_look_nothing_is_known(database: Database) -> None:
    assert await database.read(facts.find_state) == SweepState()


async def test_the_last_look_replaces_the_one_before(database: Database) -> None:
    first = SweepState(
        seen_at=NOW, tried_at=NOW, error="Novita did not answer in time.", vanished=3
    )
    second = replace(first, tried_at=NOW + SECOND, error=None, not_before=NOW + 60 * SECOND)
    await database.write(lambda c: facts.store_state(c, first))
    await database.write(lambda c: facts.store_state(c, second))
    assert await database.read(facts.find_state) == second


async def _begin(database: Database, token: str, now: datetime) -> datetime | None:
    lease = Lease(token, now + 20 * SECOND)
    return await database.write(lambda c: facts.take(c, Singleton.LOOK, now, lease))


@pytest.mark.parametrize("behind", [timedelta(0), timedelta(milliseconds=2), SKEW])
async def test_one_process_looks_though_the_clock_of_another_is_behind(
    database: Database, behind: timedelta
) -> None:
    assert await _begin(database, "first", NOW) is None
    assert await _begin(database, "second", NOW - behind) == NOW + 20 * SECOND
    await database.write(lambda c: facts.check(c, Singleton.LOOK, "first"))


async def test_a_right_to_look_that_was_taken_under_a_wrong_clock_is_taken_over(
    database: Database,
) -> None:
    assert await _begin(database, "wrong", NOW + 3600 * SECOND) is None
    assert await _begin(database, "right", NOW) is None
