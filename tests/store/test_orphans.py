"""Orphans: as the last complete listing showed them, known since they were first seen."""

import asyncio

from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.store import orphans
from gpukeeper.store.db.database import Database
from gpukeeper.store.orphans import Orphan
from tests.store.rows import NOW, SECOND


def _machine(novita_id: str, word: str = "running") -> Observation:
    return Observation(novita_id, f"{novita_id}-gkte5t00000001", word, Phase.UP, NOW)


async def _seen(database: Database, *machines: Observation, after: int = 0) -> None:
    await database.write(lambda c: orphans.record_listing(c, machines, NOW + after * SECOND))


async def _find(database: Database, novita_id: str) -> Orphan | None:
    return await database.read(lambda c: orphans.find(c, novita_id))


async def test_an_orphan_is_kept_as_it_was_seen_first_and_last(database: Database) -> None:
    await _seen(database, _machine("nv1"))
    await _seen(database, _machine("nv1", "exited"), after=30)
    expected = Orphan(_machine("nv1", "exited"), NOW, NOW + 30 * SECOND)
    assert await database.read(orphans.list_all) == [expected]
    assert await _find(database, "nv1") == expected


async def test_what_is_not_in_the_listing_any_more_is_forgotten(database: Database) -> None:
    await _seen(database, _machine("nv1"), _machine("nv2"))
    await _seen(database, _machine("nv2"), after=30)
    assert [row.machine.novita_id for row in await database.read(orphans.list_all)] == ["nv2"]
    await _seen(database, after=60)
    assert await database.read(orphans.list_all) == []


async def test_one_that_comes_back_is_new(database: Database) -> None:
    await _seen(database, _machine("nv1"))
    await _seen(database, after=30)
    await _seen(database, _machine("nv1"), after=60)
    found = await _find(database, "nv1")
    assert found is not None
    assert found.first_seen_at == NOW + 60 * SECOND


async def test_the_longest_known_come_first(database: Database) -> None:
    await _seen(database, _machine("nv3"))
    await _seen(database, _machine("nv3"), _machine("nv2"), _machine("nv1"), after=30)
    every = await database.read(orphans.list_all)
    assert [row.machine.novita_id for row in every] == ["nv3", "nv1", "nv2"]


async def test_of_many_that_take_an_orphan_one_gets_it_and_it_is_forgotten(
    database: Database,
) -> None:
    await _seen(database, _machine("nv1"), _machine("nv2"))
    taken = await asyncio.gather(
        *(database.write(lambda c: orphans.remove(c, "nv1")) for _ in range(5))
    )
    assert [orphan.machine.novita_id for orphan in taken if orphan is not None] == ["nv1"]
    assert await _find(database, "nv1") is None
    assert await _find(database, "nv2") is not None
