"""Idempotency keys: one key, one body, one instance, however often and however many at once."""

import asyncio

import pytest

from gpukeeper.domain.errors import KeyReused
from gpukeeper.domain.instances import Status
from gpukeeper.domain.lifecycle.transitions import fail
from gpukeeper.store import idempotency, instances
from gpukeeper.store.db.database import Connection, Database, StoreError
from tests.store.rows import NOW, SEAL, SILENT, an_instance, changed


async def _ordered(
    database: Database, number: int, *, key: str = "key", body_hash: str = "body"
) -> str:
    """Order as a request does: keep the key together with the instance."""
    row = an_instance(number)

    def place(connection: Connection) -> str:
        known = idempotency.record(connection, key, body_hash, row.id, NOW)
        if known is not None:
            return known
        instances.add(connection, row, SEAL, SILENT)
        return row.id

    return await database.write(place)


async def _count(database: Database) -> int:
    return sum((await database.read(instances.count_by_status)).values())


async def test_the_same_key_and_body_give_the_same_instance(database: Database) -> None:
    assert await _ordered(database, 1) == "ins_000001"
    assert await _ordered(database, 2) == "ins_000001"
    assert await database.read(instances.count_by_status) == {Status.REQUESTED: 1}


async def test_the_same_key_with_another_body_is_refused_and_orders_nothing(
    database: Database,
) -> None:
    await _ordered(database, 1)
    with pytest.raises(KeyReused):
        await _ordered(database, 2, body_hash="other")
    assert await _count(database) == 1


async def test_another_key_with_the_same_body_is_another_order(database: Database) -> None:
    assert await _ordered(database, 1) == "ins_000001"
    assert await _ordered(database, 2, key="other") == "ins_000002"


async def test_of_many_requests_at_once_with_one_key_one_orders(database: Database) -> None:
    ordered = await asyncio.gather(*(_ordered(database, number) for number in range(50)))
    assert len(set(ordered)) == 1
    assert await _count(database) == 1


async def test_the_key_of_an_order_that_could_not_be_stored_is_free_again(
    database: Database,
) -> None:
    await _ordered(database, 1, key="first")
    with pytest.raises(StoreError):
        await _ordered(database, 1, key="second")
    assert await _ordered(database, 2, key="second") == "ins_000002"


async def test_a_key_is_taken_as_it_is_written(database: Database) -> None:
    await _ordered(database, 1, key="Key")
    assert await _ordered(database, 2, key="key") == "ins_000002"
    assert await _ordered(database, 3, key="key ") == "ins_000003"


async def _fail(database: Database, instance_id: str, code: str) -> None:
    await changed(database, instance_id, lambda row: fail(row, code, "It failed.", NOW))


async def test_the_key_of_an_order_that_failed_for_a_while_orders_anew(database: Database) -> None:
    await _fail(database, await _ordered(database, 1), "novita_unavailable")
    with pytest.raises(KeyReused):
        await _ordered(database, 2, body_hash="other")
    assert await _ordered(database, 3) == "ins_000003"
    assert await _ordered(database, 4) == "ins_000003"
    await _fail(database, "ins_000003", "novita_timeout")
    assert await _ordered(database, 5) == "ins_000005"


async def test_the_key_of_an_order_that_was_refused_orders_nothing_more(
    database: Database,
) -> None:
    await _fail(database, await _ordered(database, 1), "insufficient_balance")
    assert await _ordered(database, 2) == "ins_000001"


async def test_of_many_repeats_at_once_of_an_order_that_failed_one_orders(
    database: Database,
) -> None:
    await _fail(database, await _ordered(database, 1), "novita_rate_limited")
    ordered = await asyncio.gather(*(_ordered(database, number) for number in range(2, 52)))
    assert len(set(ordered)) == 1
    assert await database.read(instances.count_by_status) == {
        Status.FAILED: 1,
        Status.REQUESTED: 1,
    }
