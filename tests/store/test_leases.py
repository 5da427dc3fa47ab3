"""Leases: one worker at a time, until it is done or has fallen silent."""

from dataclasses import replace

import pytest

from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import instances, leases, tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.leases import Lease
from tests.store.rows import (
    LEASE,
    NOW,
    OTHER_LEASE,
    SECOND,
    an_instance,
    changed,
    found,
    stored,
)


async def _claimed(
    database: Database, lease: Lease = LEASE, *, after: int = 0, limit: int = 10
) -> list[str]:
    rows = await database.write(lambda c: instances.claim(c, NOW + after * SECOND, limit, lease))
    return [row.id for row in rows]


async def _renewed(database: Database, held: dict[str, str], *, until: int) -> set[str]:
    return await database.write(
        lambda c: leases.renew(c, tables.instances, held, NOW + until * SECOND)
    )


def _started(row: Instance) -> Instance:
    return replace(row, status=Status.STARTING)


async def test_a_claimed_row_is_not_claimed_by_another(database: Database) -> None:
    await stored(database, an_instance(1))
    assert await _claimed(database) == ["ins_000001"]
    assert await _claimed(database, OTHER_LEASE, after=19) == []


async def test_the_row_of_a_worker_that_fell_silent_is_claimed_by_another(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    theirs = Lease("theirs", NOW + 40 * SECOND)
    assert await _claimed(database, theirs, after=20) == ["ins_000001"]
    with pytest.raises(LeaseLost):
        await changed(database, "ins_000001", _started, lease_token=LEASE.token)
    assert (await found(database, "ins_000001")).status is Status.REQUESTED
    await changed(database, "ins_000001", _started, lease_token="theirs")
    assert (await found(database, "ins_000001")).status is Status.STARTING


async def test_a_lease_that_ran_out_and_was_taken_by_nobody_still_holds(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    later = NOW + 60 * SECOND
    await changed(database, "ins_000001", _started, now=later, lease_token=LEASE.token)
    assert (await found(database, "ins_000001")).status is Status.STARTING


async def test_a_renewed_lease_lasts_longer(database: Database) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    held = {"ins_000001": LEASE.token, "ins_404": LEASE.token}
    assert await _renewed(database, held, until=60) == {"ins_000001"}
    assert await _claimed(database, OTHER_LEASE, after=59) == []
    assert await _claimed(database, OTHER_LEASE, after=60) == ["ins_000001"]


async def test_rows_of_one_claim_are_renewed_one_by_one(database: Database) -> None:
    await stored(database, an_instance(1), an_instance(2))
    await _claimed(database)
    await _renewed(database, {"ins_000001": LEASE.token}, until=60)
    assert await _claimed(database, OTHER_LEASE, after=20) == ["ins_000002"]


async def test_nothing_to_renew_is_no_error(database: Database) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    assert await _renewed(database, {}, until=60) == set()
    assert await _claimed(database, OTHER_LEASE, after=20) == ["ins_000001"]


async def test_a_lost_lease_is_not_renewed(database: Database) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    await _claimed(database, Lease("theirs", NOW + 40 * SECOND), after=20)
    assert await _renewed(database, {"ins_000001": LEASE.token}, until=600) == set()
    assert await _claimed(database, Lease("third", NOW), after=40) == ["ins_000001"]


async def test_a_row_that_was_given_back_is_free_at_once(database: Database) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    await database.write(lambda c: leases.release(c, tables.instances, "ins_000001", LEASE.token))
    assert await _claimed(database, OTHER_LEASE) == ["ins_000001"]
    with pytest.raises(LeaseLost):
        await changed(database, "ins_000001", _started, lease_token=LEASE.token)


async def test_a_row_of_another_is_not_given_back(database: Database) -> None:
    await stored(database, an_instance(1))
    await _claimed(database)
    await database.write(
        lambda c: leases.release(c, tables.instances, "ins_000001", OTHER_LEASE.token)
    )
    assert await _claimed(database, OTHER_LEASE) == []


async def test_an_engine_that_starts_frees_what_a_dead_one_held(database: Database) -> None:
    await stored(database, *(an_instance(number) for number in (1, 2, 3)))
    await _claimed(database, limit=2)
    free = leases.release_all
    assert await database.write(lambda c: free(c, tables.instances)) == 2
    assert await database.write(lambda c: free(c, tables.instances)) == 0
    assert len(await _claimed(database, OTHER_LEASE)) == 3


async def test_a_row_that_does_not_exist_is_held_by_nobody(database: Database) -> None:
    with pytest.raises(LeaseLost):
        await changed(database, "ins_404", _started)
