"""Facts about the deployment: its mark is chosen once, its looks are the last ones."""

import asyncio
from dataclasses import replace

from gpukeeper.store import facts
from gpukeeper.store.database import Database
from gpukeeper.store.facts import Looks
from tests.store.rows import NOW, SECOND


async def _mark(database: Database, proposed: str) -> str:
    return await database.write(lambda c: facts.deployment(c, proposed))


async def test_the_first_mark_stays(database: Database) -> None:
    assert await _mark(database, "te5t") == "te5t"
    assert await _mark(database, "other") == "te5t"


async def test_of_processes_that_start_together_all_get_the_same_mark(
    database: Database,
) -> None:
    marks = await asyncio.gather(*(_mark(database, f"mk{number:02}") for number in range(20)))
    assert len(set(marks)) == 1


async def test_before_the_first_look_nothing_is_known(database: Database) -> None:
    assert await database.read(facts.looks) == Looks()


async def test_the_last_look_replaces_the_one_before(database: Database) -> None:
    first = Looks(seen_at=NOW, tried_at=NOW, error="Novita did not answer in time.", vanished=3)
    second = replace(first, tried_at=NOW + SECOND, error=None, not_before=NOW + 60 * SECOND)
    await database.write(lambda c: facts.keep_looks(c, first))
    await database.write(lambda c: facts.keep_looks(c, second))
    assert await database.read(facts.looks) == second
