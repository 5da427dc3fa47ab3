"""Nothing keeps billing unseen: what is to end is asked to end until Novita's ledger agrees."""

import asyncio
import json
from typing import Any

import pytest

from gpukeeper.contract.instances import describe_instance
from gpukeeper.domain.instances import Command, Instance, OnFailure, Status
from gpukeeper.domain.products import PurchaseRequest
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from tests.engine.rig import DEPLOYMENT, ORDER, Rig

LOSSES = [
    ("reset", "before"),
    ("reset", "after"),
    ("error", "after"),
    ("html", "after"),
    ("truncated", "after"),
    ("empty", "after"),
    ("rate-limit", "before"),
]


def billed(rig: Rig) -> list[str]:
    """Return the machines that cost money now, as the ledger says."""
    return [bill.id for bill in rig.world.bills() if bill.is_billed_now]


async def monthly(rig: Rig) -> Instance:
    """Adopt a machine that is paid by the month, which Novita does not delete."""
    (machine,) = add_foreign_machines(
        rig.world, ForeignMachines(name=f"worker-gk{DEPLOYMENT}12345678", billing_mode="monthly")
    )
    await rig.advance(minutes=3)
    return (await rig.service.delete_orphan(machine.id)).instance


async def test_a_delete_that_novita_refuses_for_good_says_why_and_is_not_repeated(
    rig: Rig,
) -> None:
    deleting = await monthly(rig)
    await rig.advance(minutes=30)
    refused = await rig.find(deleting.id)
    assert refused.status is Status.RUNNING
    assert refused.reason is not None
    assert refused.reason.code == "delete_refused"
    assert "PREPAID_INSTANCE_NOT_SUPPORT_RELEASE" in refused.reason.message
    assert describe_instance(refused).is_billing is True
    assert rig.calls("delete") == 1
    assert (await rig.history(deleting.id))[-2:] == ["deleting", "running"]
    bodies = [json.loads(body) for _, _, body in rig.receiver.bodies]
    told = [body for body in bodies if body["type"] == "instance.running"][-1]
    assert told["data"]["error"]["code"] == "delete_refused"
    assert "PREPAID_INSTANCE_NOT_SUPPORT_RELEASE" in told["data"]["error"]["message"]
    assert await rig.broken_at_rest() == []


async def test_what_could_not_be_deleted_is_watched_until_it_ends_and_can_be_asked_again(
    rig: Rig,
) -> None:
    deleting = await monthly(rig)
    await rig.advance(minutes=10)
    await rig.service.want(deleting.id, Command.DELETE)
    await rig.advance(minutes=1)
    assert rig.calls("delete") == 2
    rig.console(deleting, "vanish")
    await rig.advance(minutes=10)
    assert (await rig.find(deleting.id)).status is Status.LOST
    assert await rig.broken_at_rest() == []


@pytest.mark.parametrize(("kind", "when"), LOSSES)
async def test_a_delete_whose_answers_were_lost_ends_what_is_billed(
    rig: Rig, kind: str, when: str
) -> None:
    running = await rig.running()
    assert billed(rig) == [running.machine.novita_id]
    rig.fault(kind, "delete", when=when, times=5)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=20)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert billed(rig) == []
    assert (await rig.history(running.id))[-2:] == ["deleting", "deleted"]
    assert await rig.broken_at_rest() == []


@pytest.mark.parametrize(
    ("repeated_delete", "not_found", "removed_in_get"),
    # Every two of the ways in which Novita may answer meet at least once.
    [
        ("accepted", "404", False),
        ("accepted", "400", True),
        ("accepted", "404-typo", False),
        ("not-found", "404", True),
        ("not-found", "400", False),
        ("not-found", "404-typo", True),
        ("invalid-state", "404", False),
        ("invalid-state", "400", True),
        ("invalid-state", "404-typo", False),
    ],
)
async def test_a_delete_that_hangs_for_hours_is_not_taken_for_done(
    rig: Rig, repeated_delete: str, not_found: str, removed_in_get: bool
) -> None:
    rig.switch(repeated_delete=repeated_delete, not_found=not_found, removed_in_get=removed_in_get)
    running = await rig.running()
    rig.console(running, "hang-delete", for_seconds=7200)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=110)
    hanging = await rig.find(running.id)
    assert (hanging.status, hanging.machine.novita_status) == (Status.DELETING, "toRemove")
    assert describe_instance(hanging).is_billing is True
    assert rig.calls("delete") > 10
    await rig.advance(minutes=20)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert await rig.broken_at_rest() == []


async def test_deleting_twice_is_one_deletion(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=3)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=3)
    history = await rig.history(running.id)
    assert (history.count("deleting"), history.count("deleted")) == (1, 1)
    assert await rig.broken_at_rest() == []


@pytest.mark.parametrize("outcome", ["answered", "lost after", "lost before", "refused"])
async def test_an_order_cancelled_while_its_create_is_under_way_leaves_nothing(
    rig: Rig, outcome: str
) -> None:
    create, asked, go_on = rig.novita.create, asyncio.Event(), asyncio.Event()

    async def hold(purchase: PurchaseRequest, **options: Any) -> str:
        asked.set()
        await go_on.wait()
        return await create(purchase, **options)

    rig.novita.create = hold  # type: ignore[method-assign]  # as slow as the test wants it
    if outcome.startswith("lost"):
        rig.fault("reset", "create", when=outcome.removeprefix("lost "), times=1)
    if outcome == "refused":
        rig.fate("no-balance")
    order = asyncio.create_task(rig.service.order(ORDER))
    while not asked.is_set():
        await rig.engine.buyer.turn()
        await asyncio.sleep(0)
    (row,) = (await rig.service.instances(limit=9)).views
    cancelled = await rig.service.want(row.instance.id, Command.DELETE)
    assert cancelled.instance.status is Status.DELETING
    go_on.set()
    while not order.done():
        await rig.work()
        await asyncio.sleep(0)
    await rig.advance(minutes=10)
    assert (await rig.find(row.instance.id)).status is Status.DELETED
    assert (rig.machines(), billed(rig)) == ([], [])
    assert rig.calls("create") == 1
    assert await rig.history(row.instance.id) == ["requested", "deleting", "deleted"]
    assert await rig.broken_at_rest() == []


@pytest.mark.parametrize("fate", [{"kind": "pull-forever"}, {"kind": "boot-error"}])
async def test_a_start_up_that_failed_is_kept_watched_and_shown_as_billing(
    rig: Rig, fate: dict[str, Any]
) -> None:
    rig.fate(**fate)
    ordered = await rig.order()
    await rig.advance(hours=3)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    assert describe_instance(failed).is_billing is True
    assert billed(rig) == [ordered.machine.novita_id]
    assert (await rig.history(ordered.id)).count("failed") == 1
    assert await rig.broken_at_rest() == []
    await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=5)
    gone = await rig.find(ordered.id)
    assert (gone.status, describe_instance(gone).is_billing) == (Status.DELETED, False)
    assert billed(rig) == []


@pytest.mark.parametrize("fate", [{"kind": "pull-forever"}, {"kind": "boot-error"}])
@pytest.mark.parametrize(("kind", "when"), LOSSES[:3])
async def test_a_start_up_that_failed_is_deleted_if_the_order_says_so_and_verified_gone(
    rig: Rig, fate: dict[str, Any], kind: str, when: str
) -> None:
    rig.fate(**fate)
    rig.fault(kind, "delete", when=when, times=3)
    ordered = await rig.order(on_failure=OnFailure.DELETE)
    await rig.advance(minutes=30)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert (rig.machines(), billed(rig)) == ([], [])
    history = await rig.history(ordered.id)
    assert history[-3:] == ["failed", "deleting", "deleted"]
    assert await rig.broken_at_rest() == []


async def test_a_machine_that_ran_is_never_deleted_because_a_later_start_failed(rig: Rig) -> None:
    running = await rig.running(on_failure=OnFailure.DELETE)
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=3)
    rig.switch(start_refused_after_stop=1.0)
    await rig.service.want(running.id, Command.START)
    await rig.advance(minutes=30)
    assert (await rig.find(running.id)).status is Status.FAILED
    assert rig.machines() == [running.machine.novita_id]
    assert rig.calls("delete") == 0


async def test_a_machine_that_somebody_deletes_in_the_console_is_not_billed_unseen(
    rig: Rig,
) -> None:
    running = await rig.running()
    rig.console(running, "hang-delete", for_seconds=600)
    rig.console(running, "delete")
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).is_watched
    await rig.advance(minutes=20)
    assert (await rig.find(running.id)).status is Status.LOST
    assert await rig.broken_at_rest() == []
