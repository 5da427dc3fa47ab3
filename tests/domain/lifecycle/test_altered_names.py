"""A machine is known by its name: ours, a lost store's, a neighbour's, or what became of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpukeeper.domain import ids
from gpukeeper.domain.instances import PurchaseIntent, Reason, Status
from gpukeeper.domain.lifecycle.purchases import (
    NAME_ALTERED,
    hold_purchase,
    record_found_machine,
    record_lookup,
    record_lost_answer,
    record_purchase,
)
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.orphans import orphans_among
from tests.domain.builders import LIMITS, MINUTE, NOW, instance, offer, requested, seen

OURS, OTHERS = "abcd", "wxyz"
LISTED = seen(Phase.UP, product_id="4090.a", created_at=NOW)
LOST = record_lost_answer(requested(intent=PurchaseIntent(offer(), since=NOW)), NOW, LIMITS)
NOT_FOUND = (
    "Novita did not answer the purchase; no machine of its name was found, so none was bought."
)


def test_a_key_has_one_mark_and_a_mark_is_recognised() -> None:
    marks = {ids.derived_deployment(key) for key in ("one", "one", "another")}
    assert len(marks) == 2
    assert all(map(ids.is_deployment, marks))
    assert not any(map(ids.is_deployment, ("", "abc", "abcde", "abcU")))


def test_an_order_with_a_key_has_the_same_name_again_and_another_in_its_next_turn() -> None:
    names = {
        ids.novita_name("trainer", OURS, ids.order_bytes(OURS, key, turn))
        for key, turn in (("a", 0), ("a", 0), ("a", 1), ("b", 0))
    }
    assert len(names) == 3
    assert {ids.token_of(name) for name in names} == {name[len("trainer") :] for name in names}


def test_an_adopted_machine_has_a_name_of_its_own_that_was_never_sent() -> None:
    names = {ids.adopted_name("trainer", novita_id) for novita_id in ("m1", "m2")}
    assert len(names) == 2
    assert all(map(ids.is_adopted, names))
    assert not ids.is_adopted(requested().novita_name)


@pytest.mark.parametrize(
    ("shown", "may_be"),
    [
        ("trainer-gkabcd1234", True),
        ("TRAINER_GKABCD12345678", True),
        ("trainer-gkabcd12345678-copy", True),
        ("trainer-gkabcd12345678", False),
        ("trainer-gkabcd87654321", False),
        ("---", False),
    ],
)
def test_a_name_that_was_cut_or_changed_may_be_the_one_that_was_sent(
    shown: str, may_be: bool
) -> None:
    assert ids.may_be_altered(shown, "trainer-gkabcd12345678") is may_be


def test_a_machine_of_another_mark_is_an_orphan_if_its_store_is_gone() -> None:
    def named(mark: str, **changes: Any) -> Observation:
        return replace(LISTED, name=f"old-gk{mark}12345678", **changes)

    earlier, later = NOW - MINUTE, NOW + MINUTE
    listed = [
        named(OURS, novita_id="ours"),
        named(OURS, novita_id="going", phase=Phase.GOING),
        named(OTHERS, novita_id="older", created_at=earlier),
        named("e1e1", novita_id="of a neighbour", created_at=earlier),
        named("e1e1", novita_id="of a neighbour, too", created_at=later),
        replace(LISTED, name="trainer", novita_id="unmarked"),
    ]
    found = orphans_among(listed, OURS, NOW)
    assert [machine.novita_id for machine in found] == ["ours", "older"]
    found = orphans_among(listed, OURS, None)
    assert [machine.novita_id for machine in found] == ["ours"]


def test_a_look_that_shows_the_machine_of_an_order_that_a_copy_bought_takes_it_in() -> None:
    owner = record_found_machine(requested(), LISTED, NOW, LIMITS)
    assert (owner.machine.novita_id, owner.status, owner.machine.product_id) == (
        "m1",
        Status.RUNNING,
        "4090.a",
    )
    assert owner.purchase.accepted_at == NOW
    for other in (LOST, instance(Status.RUNNING, novita_id="m2")):
        assert record_found_machine(other, LISTED, NOW, LIMITS) == other


def test_nothing_is_bought_again_while_a_machine_stands_there_that_may_be_the_one() -> None:
    altered = replace(LISTED, name="trainer-gkabcd1234")
    held = hold_purchase(LOST, [altered], NOW)
    assert held.reason is not None
    assert held.reason.code == NAME_ALTERED
    assert "'trainer-gkabcd1234'" in held.reason.message
    assert LOST.purchase.intent is not None
    assert held.purchase.intent == replace(LOST.purchase.intent, lookup_at=NOW + MINUTE)
    assert hold_purchase(requested(), [altered], NOW) == requested()


@pytest.mark.parametrize(
    ("status", "reason"),
    [(Status.REQUESTED, None), (Status.FAILED, Reason("novita_timeout", NOT_FOUND))],
)
def test_once_nothing_was_found_the_reason_no_longer_says_that_a_machine_may_exist(
    status: Status, reason: Reason | None
) -> None:
    held = replace(hold_purchase(LOST, [LISTED], NOW), status=status)
    end = NOW + timedelta(hours=1)
    after = record_lookup(held, [], now=end, limits=LIMITS, asked_at=end, is_complete=True)
    assert (after.purchase.intent, after.reason) == (None, reason)


def test_a_sale_that_comes_to_light_late_keeps_any_other_reason() -> None:
    other = Reason("out_of_stock", "All sold.")
    late = record_purchase(replace(LOST, status=Status.FAILED, reason=other), offer(), "m1", NOW)
    assert late.reason == other
