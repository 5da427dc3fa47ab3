"""The worst cases by hand: with each guard they end well, and without it the invariants see it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select, update

from gpukeeper.contract.instances import describe_instance
from gpukeeper.domain.instances import Instance, PurchaseIntent, Status
from gpukeeper.domain.lifecycle import purchases
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.steps import Step
from gpukeeper.engine import reconcile
from gpukeeper.engine.leases import HeldLeases
from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.store import deliveries, tables
from tests.crash.engines import HOOKS, House, build_empty
from tests.crash.invariants import bought_twice, unrest
from tests.engine.rig import ORDER
from tests.instances import edit
from tests.invariants import (
    broken_always,
    broken_at_novita,
    hidden_from_billing,
    machines_in,
    stored,
)

# Longer than a lease and the whole look-up of a lost answer.
LONG_PAUSE = timedelta(minutes=3)
HOUR = timedelta(hours=1)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Give two engines on an empty store."""
    house = House(tmp_path / "crash.db", build_empty(tmp_path / "empty.db"))
    yield house
    house.close()


def test_a_worker_that_was_paused_before_it_bought_does_not_buy_any_more(house: House) -> None:
    pause_before_the_purchase(house)
    assert broken_in_the_end(house) == []


def test_without_a_look_at_its_lease_a_paused_worker_buys_a_second_machine(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldLeases, "check", lambda leasing, row_id, token, now: None)
    pause_before_the_purchase(house)
    assert bought_twice(house.world) != []


def test_a_purchase_whose_buyer_was_killed_is_found_and_not_repeated(house: House) -> None:
    kill_after_the_purchase(house)
    assert broken_in_the_end(house) == []


def test_without_regard_to_the_intent_a_killed_purchase_is_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide_blindly(row: Instance, *arguments: object) -> Step:
        return decide(edit(row, intent=None), *arguments)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(reconcile, "decide", decide_blindly)
    kill_after_the_purchase(house)
    house.run(LONG_PAUSE)
    assert bought_twice(house.world) != []


def test_a_killed_purchase_is_shown_as_billing_for_as_long_as_novita_is_away(house: House) -> None:
    kill_after_the_purchase(house)
    house.world.faults.add(Fault(kind="html", status=503, for_seconds=2000), house.clock())
    for _ in range(30):
        house.run(timedelta(minutes=1))
        with house.database.engine.begin() as connection:
            (row,) = stored(connection)
            assert hidden_from_billing(connection, machines_in(house.world)) == []
        assert describe_instance(row).is_billing is True
        assert row.purchase.has_lost_answer
    assert (row.status, row.machine.novita_id) == (Status.FAILED, None)
    assert row.reason is not None
    assert "a machine may exist and be billed" in row.reason.message
    # Once Novita is back the machine is known, and it runs.
    assert broken_in_the_end(house) == []
    with house.database.engine.begin() as connection:
        (row,) = stored(connection)
    assert (row.status, row.machine.novita_id) == (Status.RUNNING, *house.world.machines)


def test_a_lost_answer_to_a_purchase_is_looked_up(house: House) -> None:
    lose_the_answer(house)
    assert broken_in_the_end(house) == []


def test_a_lost_answer_that_is_taken_for_a_refusal_is_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        purchases, "record_lost_answer", lambda row, now, limits: edit(row, intent=None)
    )
    lose_the_answer(house)
    assert bought_twice(house.world) != []


def test_a_sender_that_was_paused_does_not_store_a_second_success(house: House) -> None:
    pause_while_the_receiver_answers(house)
    assert broken_in_the_end(house) == []


def test_without_the_guard_of_the_lease_a_second_success_is_stored(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_meant = tables.deliveries.c.id == bindparam("row_id")
    allowed = select(tables.deliveries.c.allowed_attempts).where(is_meant)
    monkeypatch.setattr(deliveries, "_ALLOWED_ATTEMPTS", allowed)
    monkeypatch.setattr(deliveries, "_FINISH", update(tables.deliveries).where(is_meant))
    pause_while_the_receiver_answers(house)
    # The table of attempts refuses a second first attempt.
    assert any('"deliver"' in fault for fault in house.faults_of_our_own())


def order(house: House) -> None:
    """Order one machine."""
    house.call(house.service.order(ORDER))


def bring_to(house: House, loop: str, where: str) -> None:
    """Let the first process turn one loop and stop at a gate."""
    house.turn(house.processes[0], loop)
    go_on_to(house, where)


def intended(house: House) -> PurchaseIntent | None:
    """Return what the one order is about to buy."""
    with house.database.engine.begin() as connection:
        (row,) = stored(connection)
    return row.purchase.intent


def go_on_to(house: House, where: str) -> None:
    """Let the first process go on until it stops at a gate."""
    first = house.processes[0]
    while first.gates.waiting[0].where != where:
        house.go_on(first, 0)


def pause_before_the_purchase(house: House) -> None:
    """Pause a worker between its intent and its call, for so long that another takes over."""
    order(house)
    first, second = house.processes
    bring_to(house, "buy", "written")
    assert intended(house) is None
    house.go_on(first, 0)
    go_on_to(house, "written")
    assert intended(house) is not None
    house.run(LONG_PAUSE, alone=second)
    house.move(first, 20)
    house.run(LONG_PAUSE)


def kill_after_the_purchase(house: House) -> None:
    """Kill a process when Novita has sold and before it knows."""
    order(house)
    bring_to(house, "buy", "answer")
    house.replace(0)


def lose_the_answer(house: House) -> None:
    """Let Novita sell a machine and its answer get lost."""
    house.world.faults.add(
        Fault(kind="reset", route="create", when="after", times=1), house.clock()
    )
    order(house)
    house.run(LONG_PAUSE)


def pause_while_the_receiver_answers(house: House) -> None:
    """Pause a sender between the receiver's answer and its own commit."""
    order(house)
    first, second = house.processes
    bring_to(house, "buy", "write")
    while not any(gate.where == "write" and house.world.machines for gate in first.gates.waiting):
        house.go_on(first, 0)
    house.go_on(first, 0)
    bring_to(house, "deliver", "posted")
    house.run(LONG_PAUSE, alone=second)
    house.move(first, 20)


def broken_in_the_end(house: House) -> list[str]:
    """Return every promise that is not kept once everything has come to rest."""
    house.run(HOUR)
    with house.database.engine.begin() as connection:
        return [
            *house.faults_of_our_own(),
            *bought_twice(house.world),
            *unrest(connection),
            *broken_always(connection, urls=HOOKS),
            *broken_at_novita(connection, machines_in(house.world)),
        ]
