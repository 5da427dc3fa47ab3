"""The invariants can fail: each notices the one thing that is done to a sound store."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from gpukeeper.domain.instances import Command
from gpukeeper.simulator.admin import world_views
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from gpukeeper.store import tables
from tests import invariants
from tests.engine.rig import DEPLOYMENT, HOOK, Rig


def _drop_event(connection: Connection) -> None:
    connection.execute(delete(tables.events).where(tables.events.c.type == "instance.starting"))


def _drop_last_event(connection: Connection) -> None:
    connection.execute(delete(tables.events).where(tables.events.c.type == "instance.running"))


def _tell_twice(connection: Connection) -> None:
    _copy(connection, tables.events, tables.events.c.type == "instance.running", id="evt_again")


def _forget_delivery(connection: Connection) -> None:
    number = connection.scalar(select(tables.deliveries.c.number).limit(1))
    connection.execute(delete(tables.deliveries).where(tables.deliveries.c.number == number))


def _owe_twice(connection: Connection) -> None:
    _copy(connection, tables.deliveries, tables.deliveries.c.number == 1, id="dlv_again")


def _owe_history(connection: Connection) -> None:
    number = connection.scalar(
        select(tables.events.c.number).where(tables.events.c.type == "instance.starting")
    )
    one = tables.deliveries.c.number == 1
    _copy(connection, tables.deliveries, one, id="dlv_more", event_number=number)


def _attempt_after_success(connection: Connection) -> None:
    attempts = tables.delivery_attempts
    first = connection.execute(select(attempts).limit(1)).one()
    connection.execute(insert(attempts).values({**first._mapping, "number": 2}))
    connection.execute(
        update(tables.deliveries)
        .where(tables.deliveries.c.id == first.delivery_id)
        .values(attempts=2)
    )


def _lose_attempt(connection: Connection) -> None:
    connection.execute(delete(tables.delivery_attempts))


def _copy(connection: Connection, table: Any, which: Any, **changes: Any) -> None:
    row = dict(connection.execute(select(table).where(which)).one()._mapping)
    del row["number"]
    connection.execute(insert(table).values({**row, **changes}))


@pytest.mark.parametrize(
    "spoil",
    [
        _drop_event,
        _drop_last_event,
        _tell_twice,
        _forget_delivery,
        _owe_twice,
        _owe_history,
        _attempt_after_success,
        _lose_attempt,
    ],
)
async def test_a_spoilt_store_is_noticed(rig: Rig, spoil: Callable[[Connection], None]) -> None:
    await rig.running()
    assert await rig.broken_at_rest() == []

    def check(connection: Connection) -> list[str]:
        with connection.begin_nested() as undone:
            spoil(connection)
            found = invariants.broken_always(connection, urls=[HOOK])
            undone.rollback()
        return found

    assert len(await rig.database.write(check)) > 0


async def test_a_lease_that_nobody_took_over_is_noticed(rig: Rig) -> None:
    running = await rig.running()
    until = rig.clock() - timedelta(seconds=1)

    def check(connection: Connection) -> list[str]:
        with connection.begin_nested() as undone:
            connection.execute(
                update(tables.instances)
                .where(tables.instances.c.id == running.id)
                .values(lease_token="dead", lease_until=until)
            )
            found = invariants.broken_at_rest(connection, rig.clock())
            undone.rollback()
        return found

    assert len(await rig.database.write(check)) == 1


async def test_a_machine_that_is_billed_unseen_is_noticed(rig: Rig) -> None:
    add_foreign_machines(rig.world, ForeignMachines(name=f"worker-gk{DEPLOYMENT}12345678"))
    assert ["is billed" in sentence for sentence in await rig.broken_at_rest()] == [True]
    await rig.advance(minutes=4)
    assert await rig.broken_at_rest() == []


async def test_a_second_machine_of_one_order_is_noticed(rig: Rig) -> None:
    running = await rig.running()
    add_foreign_machines(rig.world, ForeignMachines(name=running.novita_name))
    assert any("at most one" in sentence for sentence in await rig.broken_at_rest())


async def test_a_machine_that_is_believed_in_and_gone_is_noticed(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "vanish")
    assert ["is gone" in sentence for sentence in await rig.broken_at_rest()] == [True]
    await rig.advance(minutes=5)
    assert await rig.broken_at_rest() == []


async def test_the_ledger_of_the_admin_api_says_the_same(rig: Rig) -> None:

    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    await rig.running(name="other")
    assert invariants.machines_of(world_views.describe_ledger(rig.world)) == invariants.machines_in(
        rig.world
    )
