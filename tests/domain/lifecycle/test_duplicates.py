"""A second machine of one order is deleted until it is gone, and nobody else's ever is."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukeeper.contract.instances import describe_instance
from gpukeeper.contract.serialization import to_dict
from gpukeeper.domain.errors import NovitaRejected, OutcomeUnknown
from gpukeeper.domain.events import Change, EventType
from gpukeeper.domain.instances import Command, Duplicate, Instance, PurchaseIntent, Status
from gpukeeper.domain.lifecycle import duplicates, purchases
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide, schedule, settle
from gpukeeper.domain.lifecycle.steps import (
    ChangeStatus,
    ChooseOffer,
    DeleteDuplicate,
    LookUp,
    Wait,
)
from gpukeeper.domain.machines import Phase
from tests.domain.builders import (
    LIMITS,
    MINUTE,
    NOW,
    ORDER,
    REPEATABLE,
    SECOND,
    TEMPLATE,
    instance,
    offer,
    requested,
    seen,
)
from tests.instances import edit

OFFER = offer()
WINDOW = LIMITS.adoption_window


def with_surplus(*novita_ids: str, at: datetime = NOW) -> Instance:
    """Return a running instance beside which these machines were found."""
    row = instance(Status.RUNNING, has_lost_answer=True)
    return duplicates.record_duplicates(row, novita_ids or ["m2"], at, LIMITS)


def tried(
    row: Instance, now: datetime = NOW, *, is_known: bool = True, is_accepted: bool = True
) -> Instance:
    """Return the row after Novita answered about its surplus machine."""
    return duplicates.record_deletion_attempt(
        row, "m2", now, LIMITS, is_known=is_known, is_accepted=is_accepted
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (instance(Status.RUNNING, has_lost_answer=True), True),
        (instance(Status.DELETED, has_lost_answer=True, gone_at=NOW), True),
        (requested(status=Status.FAILED, has_lost_answer=True), True),
        (requested(status=Status.DELETED, has_lost_answer=True), True),
        # It was not bought by this store: a person has to say what becomes of it.
        (instance(Status.RUNNING), False),
        (requested(status=Status.FAILED), False),
        # It may still become the order's own.
        (requested(has_lost_answer=True), False),
        (
            requested(
                status=Status.DELETING, has_lost_answer=True, intent=PurchaseIntent(OFFER, NOW)
            ),
            False,
        ),
        (
            requested(
                status=Status.FAILED, has_lost_answer=True, intent=PurchaseIntent(OFFER, NOW)
            ),
            False,
        ),
    ],
)
def test_a_machine_of_our_name_is_surplus_only_if_it_is_provably_ours_and_one_too_many(
    row: Instance, expected: bool
) -> None:
    assert duplicates.is_duplicate(row, "m2") is expected


def test_the_machine_that_the_order_has_is_never_surplus() -> None:
    assert not duplicates.is_duplicate(instance(Status.RUNNING, has_lost_answer=True), "m1")


def test_every_way_to_lose_an_answer_is_remembered() -> None:
    asking = purchases.record_choice(requested(), OFFER, TEMPLATE, NOW)
    assert not asking.purchase.has_lost_answer
    assert purchases.record_refusal(
        asking, OFFER, OutcomeUnknown(), NOW, LIMITS
    ).purchase.has_lost_answer
    assert not purchases.record_refusal(
        asking, OFFER, NovitaRejected(), NOW, LIMITS
    ).purchase.has_lost_answer
    for found in ([], [seen(Phase.UP)]):
        after_a_crash = purchases.record_lookup(
            asking, found, NOW, LIMITS, asked_at=NOW, is_complete=True
        )
        assert after_a_crash.purchase.has_lost_answer
    assert not purchases.record_purchase(asking, OFFER, "m1", NOW).purchase.has_lost_answer


def test_what_is_found_is_deleted_at_once_and_again_at_growing_pauses() -> None:
    row, now, pauses = with_surplus(), NOW, []
    for _ in range(9):
        assert decide(row, now, LIMITS) == DeleteDuplicate("m2")
        row = tried(row, now)
        step = decide(row, now, LIMITS)
        assert isinstance(step, Wait)
        assert step.until is not None
        pauses.append((step.until - now) // SECOND)
        now = step.until
    assert pauses == [3, 6, 12, 24, 48, 96, 192, 300, 300]


def test_a_machine_is_gone_when_novita_does_not_know_it_after_accepting_to_delete_it() -> None:
    row = tried(tried(with_surplus()), NOW + SECOND, is_known=False, is_accepted=False)
    assert (row.duplicate_ids, row.duplicates[0].gone_at) == ((), NOW + SECOND)
    assert decide(row, NOW + MINUTE, LIMITS) == Wait(None)


def test_a_machine_that_may_be_too_new_to_be_answered_is_not_held_to_be_gone() -> None:
    row = tried(with_surplus(), is_known=False, is_accepted=False)
    assert row.duplicate_ids == ("m2",)
    row = tried(row, NOW + WINDOW, is_known=False, is_accepted=False)
    assert row.duplicate_ids == ()


def test_a_delete_that_was_accepted_once_stays_accepted() -> None:
    row = tried(tried(with_surplus()), NOW + SECOND, is_accepted=False)
    assert row.duplicates[0].is_acknowledged
    assert tried(with_surplus(), is_accepted=False).duplicates[0].is_acknowledged is False


def test_a_machine_that_is_known_to_be_surplus_is_not_found_again() -> None:
    row = tried(with_surplus())
    assert duplicates.record_duplicates(row, ["m2"], NOW + MINUTE, LIMITS) == row


def test_a_listing_may_lag_behind_the_end_of_a_surplus_machine() -> None:
    gone = tried(tried(with_surplus()), is_known=False)
    assert duplicates.record_duplicates(gone, ["m2"], NOW + WINDOW - SECOND, LIMITS) == gone
    back = duplicates.record_duplicates(gone, ["m2"], NOW + WINDOW, LIMITS)
    assert back.duplicates == (Duplicate("m2", NOW + WINDOW, NOW + WINDOW),)


def test_each_of_several_is_tried_in_its_turn() -> None:
    row = tried(with_surplus("m2", "m3"))
    assert decide(row, NOW, LIMITS) == DeleteDuplicate("m3")


def test_what_the_order_itself_needs_comes_first() -> None:
    row = edit(with_surplus(), confirm_at=NOW)
    assert not isinstance(decide(row, NOW, LIMITS), DeleteDuplicate)
    later = edit(with_surplus(at=NOW + MINUTE), confirm_at=NOW + SECOND)
    assert decide(later, NOW, LIMITS) == Wait(NOW + SECOND)
    assert decide(edit(later, confirm_at=None), NOW, LIMITS) == Wait(NOW + MINUTE)


def test_surplus_is_told_once_when_it_is_found_and_once_when_it_is_gone() -> None:
    bare = instance(Status.RUNNING, has_lost_answer=True)
    found = with_surplus()
    gone = tried(tried(found), is_known=False)
    assert Change(bare, found, NOW).event_types == (EventType.SURPLUS_FOUND,)
    assert Change(found, tried(found), NOW).event_types == ()
    assert Change(found, gone, NOW).event_types == (EventType.SURPLUS_DELETED,)


def test_surplus_is_shown_as_billing_until_it_is_gone() -> None:
    deleted = edit(with_surplus(), status=Status.DELETED, gone_at=NOW)
    body = to_dict(describe_instance(deleted))
    assert (body["isBilling"], body["surplusMachines"]) == (True, ["m2"])
    gone = to_dict(describe_instance(tried(tried(deleted), is_known=False)))
    assert (gone["isBilling"], gone["surplusMachines"]) == (False, [])


def test_an_order_is_shown_as_billing_while_nobody_knows_whether_it_was_bought() -> None:
    asking = purchases.record_choice(requested(), OFFER, TEMPLATE, NOW)
    lost = purchases.record_refusal(asking, OFFER, OutcomeUnknown(), NOW, LIMITS)
    late = NOW + WINDOW
    settled = purchases.record_lookup(lost, [], late, LIMITS, asked_at=late, is_complete=True)
    shown = [describe_instance(row).is_billing for row in (asking, lost, settled)]
    assert shown == [True, True, False]


@dataclass(slots=True)
class Shop:
    """A Novita that answers purchases or not, and carries out some of them long afterwards."""

    now: datetime = NOW
    effects: list[datetime] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def alive(self) -> list[str]:
        """Return the machines that cost money now."""
        ids = [f"m{number}" for number, at in enumerate(self.effects) if at <= self.now]
        return [novita_id for novita_id in ids if novita_id not in self.deleted]

    def created_at(self, novita_id: str) -> datetime:
        """Return when the machine came to be."""
        return self.effects[int(novita_id[1:])]


late_effects = st.lists(
    st.none() | st.integers(0, 600).map(lambda seconds: timedelta(seconds=seconds)), max_size=4
)


@settings(REPEATABLE, max_examples=100)
@given(effects=late_effects, cancelled_after=st.none() | st.integers(0, 400))
def test_however_late_purchases_take_effect_one_machine_is_left_or_none(
    effects: list[timedelta | None], cancelled_after: int | None
) -> None:
    shop, told = Shop(), list[EventType]()
    patient = replace(ORDER, startup_timeout=60 * MINUTE)
    row = requested(order=patient, deadline_at=NOW + patient.startup_timeout)
    row = schedule(row, NOW, LIMITS)
    unanswered = list(effects)
    for second in range(0, 1500, 10):
        shop.now = NOW + second * SECOND
        if cancelled_after is not None and second // 10 == cancelled_after // 10:
            row = schedule(request_command(row, Command.DELETE, shop.now), shop.now, LIMITS)
        for _ in range(20):
            after = schedule(_step(shop, row, unanswered), shop.now, LIMITS)
            told += Change(row, after, shop.now).event_types
            if after == row:
                break
            row = after
    assert shop.alive() == ([row.machine.novita_id] if row.is_watched else [])
    assert row.duplicate_ids == ()
    assert (EventType.SURPLUS_FOUND in told) == bool(row.duplicates)
    assert told.count(EventType.SURPLUS_DELETED) == len(row.duplicates)
    assert row.status is (Status.DELETED if cancelled_after is not None else Status.CREATING)


def _step(shop: Shop, row: Instance, unanswered: list[timedelta | None]) -> Instance:
    """Do what is decided, and what a look does when nothing is."""
    now, ours = shop.now, shop.alive()
    match decide(row, now, LIMITS):
        case ChangeStatus():
            return settle(row, now, LIMITS)
        case ChooseOffer():
            asking = purchases.record_choice(row, OFFER, TEMPLATE, now)
            if not unanswered:
                shop.effects.append(now)
                return purchases.record_purchase(asking, OFFER, f"m{len(shop.effects) - 1}", now)
            effect = unanswered.pop(0)
            shop.effects.append(datetime.max.replace(tzinfo=NOW.tzinfo))
            if effect is not None:
                shop.effects[-1] = now + effect
            return purchases.record_refusal(asking, OFFER, OutcomeUnknown(), now, LIMITS)
        case LookUp():
            found = [seen(Phase.UP, novita_id=m, created_at=shop.created_at(m)) for m in ours]
            return purchases.record_lookup(row, found, now, LIMITS, asked_at=now, is_complete=True)
        case DeleteDuplicate(novita_id=novita_id):
            is_known = novita_id in ours
            shop.deleted.add(novita_id)
            return duplicates.record_deletion_attempt(
                row, novita_id, now, LIMITS, is_known=is_known, is_accepted=is_known
            )
        case _:
            return _rest(shop, row)


def _rest(shop: Shop, row: Instance) -> Instance:
    """Delete what is to be deleted, and take a listing in."""
    if row.status is Status.DELETING and row.machine.novita_id is not None:
        shop.deleted.add(row.machine.novita_id)
        return edit(row, status=Status.DELETED, gone_at=shop.now)
    late = [m for m in shop.alive() if duplicates.is_duplicate(row, m)]
    return duplicates.record_duplicates(row, late, shop.now, LIMITS)
