"""A store restored from an old copy: what was bought since is found, and nothing is doubled."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gpukeeper.domain.instances import Command, Status
from gpukeeper.domain.products import PurchaseRequest
from gpukeeper.service.ordering import BuyerElsewhere
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from tests.engine.conftest import Build
from tests.engine.rig import ORDER, STORE, Rig

Restore = Callable[[Path], Rig]


@pytest.fixture
def kind() -> str:
    """Return the kind whose copies are files; PostgreSQL's are its own tools' matter."""
    return "sqlite"


def copy(rig: Rig, to: Path) -> Path:
    """Copy the store's file, as it is at this moment."""
    with (
        closing(sqlite3.connect(rig.directory / STORE)) as store,
        closing(sqlite3.connect(to)) as copied,
    ):
        store.backup(copied)
    return to


@pytest.fixture
def restore(build: Build, rig: Rig) -> Restore:
    """Give a function that goes on with a copy, in the world of the store that was lost."""
    return lambda copied: build(store=copied, beside=rig)


async def test_a_store_restored_from_an_old_copy_finds_its_newer_machines_as_orphans(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    kept = await rig.running(name="kept")
    gone = await rig.running(name="gone")
    old = copy(rig, tmp_path / "copy.db")
    newer = [await rig.running(name=f"newer-{number}") for number in range(3)]
    await rig.service.want(gone.id, Command.DELETE)
    await rig.advance(minutes=5)

    restored = restore(old)
    await restored.advance(minutes=5)
    assert (await restored.find(kept.id)).status is Status.RUNNING
    assert (await restored.find(gone.id)).status is Status.LOST
    orphans = await restored.service.orphans()
    assert {orphan.novita_id for orphan in orphans} == {row.machine.novita_id for row in newer}
    assert restored.calls("create") == 5
    assert await restored.broken_at_rest() == []

    adopted = (await restored.service.adopt(orphans[0].novita_id)).instance
    deleted = (await restored.service.delete_orphan(orphans[1].novita_id)).instance
    await restored.advance(minutes=5)
    assert (await restored.find(adopted.id)).status is Status.RUNNING
    assert (await restored.find(deleted.id)).status is Status.DELETED
    left = [
        str(row.machine.novita_id)
        for row in newer
        if row.machine.novita_id != deleted.machine.novita_id
    ]
    assert sorted(restored.machines()) == sorted([str(kept.machine.novita_id), *left])
    assert await restored.broken_at_rest() == []


async def test_a_copy_taken_while_an_order_was_bought_finds_its_machine_and_buys_no_other(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    create = rig.novita.create

    async def copied_first(purchase: PurchaseRequest, **options: Any) -> str:
        copy(rig, tmp_path / "copy.db")
        return await create(purchase, **options)

    rig.novita.create = copied_first  # type: ignore[method-assign]  # and then as ever
    running = await rig.running()
    restored = restore(tmp_path / "copy.db")
    await restored.advance(minutes=5)
    found = await restored.find(running.id)
    assert (found.status, found.machine.novita_id) == (Status.RUNNING, running.machine.novita_id)
    assert restored.calls("create") == 1
    assert await restored.broken_at_rest() == []


async def test_a_copy_taken_before_an_order_was_bought_never_deletes_what_it_did_not_buy(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    impatient = replace(rig.service.ordering, patience=timedelta(0), buyer=BuyerElsewhere())
    ordered, _ = await impatient.place(ORDER)
    copy(rig, tmp_path / "copy.db")
    await rig.advance(minutes=2)
    running = await rig.find(ordered.id)
    restored = restore(tmp_path / "copy.db")
    await restored.advance(minutes=10)
    again = await restored.find(running.id)
    assert again.machine.novita_id != running.machine.novita_id
    # Somebody has been working on it: only a person can say which of the two is to go.
    assert str(running.machine.novita_id) in restored.machines()
    assert [o.novita_id for o in await restored.service.orphans()] == [running.machine.novita_id]
    assert restored.calls("delete") == 0


async def test_a_copy_from_before_a_delete_lets_the_machine_be_gone(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    old = copy(rig, tmp_path / "copy.db")
    await rig.advance(minutes=5)
    restored = restore(old)
    await restored.advance(minutes=5)
    assert (await restored.find(running.id)).status is Status.DELETED
    assert await restored.broken_at_rest() == []


async def test_a_second_machine_is_deleted_by_whoever_takes_the_store_over(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    rig.fault("reset", "create", when="before", times=1)
    ordered = await rig.order()
    add_foreign_machines(rig.world, ForeignMachines(name=ordered.novita_name))
    add_foreign_machines(rig.world, ForeignMachines(name=ordered.novita_name))
    rig.fault("reset", "delete", when="before")
    await rig.advance(minutes=1)
    assert len((await rig.find(ordered.id)).duplicate_ids) == 1
    taken_over = restore(copy(rig, tmp_path / "copy.db"))
    rig.world.faults.clear()
    await taken_over.advance(minutes=10)
    after = await taken_over.find(ordered.id)
    assert (after.status, after.duplicate_ids) == (Status.RUNNING, ())
    assert taken_over.machines() == [after.machine.novita_id]
    assert (await taken_over.history(ordered.id))[-1] == "surplus_deleted"
    assert await taken_over.broken_at_rest() == []
