"""One order, at most one machine: the intent, the answer, and the look-up of a lost answer."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gpukeeper.domain.errors import (
    BadCredentials,
    GpuKeeperError,
    InsufficientBalance,
    NothingForSale,
    NovitaRejected,
    NovitaTimeout,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
    QuotaExceeded,
    RateLimited,
)
from gpukeeper.domain.instances import (
    Command,
    DesiredState,
    Instance,
    PurchaseIntent,
    Reason,
    Status,
)
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.purchases import (
    choose_offer,
    compose_request,
    describe_considered,
    give_up_machine,
    is_safe_to_repeat,
    postpone_lookup,
    record_choice,
    record_lookup,
    record_lost_answer,
    record_nothing_chosen,
    record_purchase,
    record_refusal,
)
from gpukeeper.domain.lifecycle.steps import ChooseOffer, Wait
from gpukeeper.domain.lifecycle.transitions import fail
from gpukeeper.domain.machines import Phase
from gpukeeper.domain.products import Port
from tests.domain.builders import (
    LIMITS,
    MINUTE,
    NOW,
    ORDER,
    SECOND,
    TEMPLATE,
    attempt,
    instance,
    offer,
    requested,
    seen,
)

OFFER = offer()
WINDOW = LIMITS.adoption_window


def asking(**changes: object) -> Instance:
    """Return an order whose purchase is under way."""
    return requested(intent=PurchaseIntent(OFFER, since=NOW), **changes)


def looking(until: datetime = NOW + WINDOW, **changes: object) -> Instance:
    """Return an order whose purchase was not answered."""
    return requested(
        intent=PurchaseIntent(OFFER, NOW, lookup_until=until, lookup_at=NOW), **changes
    )


def test_offers_that_were_refused_are_not_tried_again() -> None:
    first, second, elsewhere = offer("a"), offer("b"), offer("a", "US-CA-06")
    row = requested(attempts=(attempt("out_of_stock", "a"),))
    assert choose_offer(row, [first, second, elsewhere]) == second
    assert choose_offer(row, [first, elsewhere]) == elsewhere
    assert choose_offer(row, [first]) is None


def test_an_offer_that_novita_was_too_busy_to_sell_is_tried_again() -> None:
    busy = requested(attempts=(attempt("novita_rate_limited"), attempt("novita_unavailable")))
    assert choose_offer(busy, [offer()]) == offer()


def test_the_intent_is_stored_before_novita_is_asked() -> None:
    row = record_choice(requested(), OFFER, TEMPLATE, NOW)
    assert row.purchase.intent == PurchaseIntent(OFFER, since=NOW)
    assert (row.status, row.machine.image_url) == (Status.REQUESTED, TEMPLATE.image_url)
    assert row.machine.product_name == OFFER.product_name


def test_with_nothing_left_to_try_the_order_fails_and_names_what_was_tried() -> None:
    row = record_choice(requested(attempts=(attempt("out_of_stock"),)), None, TEMPLATE, NOW)
    assert row.status is Status.FAILED
    assert row.reason == Reason("out_of_stock", "Novita had none left of: 4090.a in CN-HK-01.")


def test_an_offer_that_became_too_dear_is_passed_over_for_this_order() -> None:
    error = NothingForSale("Dear.", code="price_above_limit")
    row = record_refusal(looking(), OFFER, error, NOW, LIMITS)
    assert (row.status, row.purchase.intent) == (Status.REQUESTED, None)
    assert [each.outcome for each in row.purchase.attempts] == ["above_limit"]
    assert choose_offer(row, [OFFER, offer("b")]) == offer("b")
    failed = record_choice(row, None, TEMPLATE, NOW)
    assert failed.reason is not None
    assert (failed.status, failed.reason.code) == (Status.FAILED, "price_above_limit")


def test_what_was_looked_at_says_why_it_was_not_taken() -> None:
    dear = NothingForSale(code="price_above_limit", offers=[OFFER])
    assert [each.outcome for each in describe_considered(dear, NOW)] == ["above_limit"]
    (sold_out,) = describe_considered(NothingForSale(offers=[OFFER]), NOW)
    assert (sold_out.outcome, sold_out.product_id) == ("out_of_stock", OFFER.product_id)


def test_an_order_cancelled_while_it_was_ranked_gets_no_intent_and_no_failure() -> None:
    cancelled = request_command(requested(), Command.DELETE, NOW)
    assert record_choice(cancelled, OFFER, TEMPLATE, NOW) == cancelled
    assert record_nothing_chosen(cancelled, NothingForSale(), NOW, LIMITS) == cancelled


def test_an_order_that_nothing_fits_fails_with_the_reason() -> None:
    row = record_nothing_chosen(
        requested(), NothingForSale("None.", code="price_above_limit"), NOW, LIMITS
    )
    assert (row.status, row.reason) == (Status.FAILED, Reason("price_above_limit", "None."))


def test_the_template_makes_the_machine_and_the_order_is_laid_over_it() -> None:
    told = compose_request(requested(), OFFER, TEMPLATE, envs={"MODE": "slow", "RUN": "7"})
    assert (told.name, told.offer, told.rootfs_size_gb) == ("trainer-gkabcd12345678", OFFER, 60)
    assert dict(told.envs) == {"MODE": "slow", "REGION": "hk", "RUN": "7"}
    assert (told.ports, told.command) == (TEMPLATE.ports, "serve")


def test_ports_and_command_of_the_order_replace_the_templates_even_when_empty() -> None:
    order = replace(ORDER, ports=(), command="")
    told = compose_request(requested(order=order), OFFER, TEMPLATE, envs={})
    assert (told.ports, told.command) == ((), "")
    tcp = replace(ORDER, ports=(Port(22, "tcp"),), command="sshd")
    told = compose_request(requested(order=tcp), OFFER, TEMPLATE, envs={})
    assert (str(told.ports[0]), told.command) == ("22/tcp", "sshd")


def test_a_sold_machine_is_known_and_the_order_created() -> None:
    row = record_purchase(asking(failures=2), OFFER, "m1", NOW)
    assert (row.status, row.machine.novita_id, row.purchase.intent) == (Status.CREATING, "m1", None)
    assert (row.machine.product_id, row.machine.product_name) == (
        OFFER.product_id,
        OFFER.product_name,
    )
    assert (row.machine.cluster_id, row.machine.region) == (OFFER.cluster_id, OFFER.region)
    assert row.machine.price_per_hour == OFFER.price_per_hour
    assert [tried.outcome for tried in row.purchase.attempts] == ["accepted"]
    assert row.purchase.accepted_at == row.started_at == NOW
    assert row.watch.failures == 0


def test_a_machine_that_was_bought_late_has_the_whole_time_to_come_up() -> None:
    late = NOW + 9 * MINUTE
    row = record_purchase(asking(), OFFER, "m1", late)
    assert row.deadline_at == late + ORDER.startup_timeout
    found = record_lookup(
        looking(), [seen(Phase.STARTING)], late, LIMITS, asked_at=late, is_complete=True
    )
    assert found.deadline_at == late + ORDER.startup_timeout


@pytest.mark.parametrize("status", [Status.DELETING, Status.FAILED])
def test_a_machine_sold_too_late_is_known_so_that_it_can_be_deleted(status: Status) -> None:
    row = record_purchase(
        asking(status=status, desired_state=DesiredState.DELETED), OFFER, "m1", NOW
    )
    assert (row.status, row.machine.novita_id, row.is_watched) == (status, "m1", True)


def test_out_of_stock_keeps_the_try_and_leaves_the_order_open() -> None:
    row = record_refusal(asking(), OFFER, OutOfStock("None left."), NOW, LIMITS)
    assert (row.status, row.purchase.intent) == (Status.REQUESTED, None)
    assert [(a.outcome, a.detail) for a in row.purchase.attempts] == [
        ("out_of_stock", "None left.")
    ]
    assert choose_offer(row, [OFFER]) is None


@pytest.mark.parametrize(
    "error",
    [InsufficientBalance(), QuotaExceeded(), NovitaRejected(), BadCredentials(), RateLimited()],
)
def test_any_other_refusal_fails_the_order_with_its_code(error: GpuKeeperError) -> None:
    row = record_refusal(asking(), OFFER, error, NOW, LIMITS)
    assert (row.status, row.purchase.intent) == (Status.FAILED, None)
    assert row.reason == Reason(error.error_code, error.message)
    assert [tried.outcome for tried in row.purchase.attempts] == [error.error_code]


def test_a_refusal_of_a_cancelled_order_leaves_it_cancelled() -> None:
    row = record_refusal(
        request_command(asking(), Command.DELETE, NOW), OFFER, NovitaRejected(), NOW, LIMITS
    )
    assert (row.status, row.purchase.intent) == (Status.DELETING, None)


def test_a_lost_answer_is_looked_up_for_the_whole_window() -> None:
    row = record_refusal(asking(), OFFER, OutcomeUnknown(), NOW, LIMITS)
    assert row.purchase.intent == PurchaseIntent(OFFER, NOW, NOW + WINDOW, NOW + SECOND, 0)
    assert row.purchase.attempts == ()


def test_the_window_begins_with_the_first_look_when_a_crash_lost_the_answer() -> None:
    later = NOW + 7 * MINUTE
    row = record_lookup(asking(), [], later, LIMITS, asked_at=later, is_complete=True)
    assert row.purchase.intent == PurchaseIntent(OFFER, NOW, later + WINDOW, later + SECOND, 0)
    unreachable = postpone_lookup(asking(), NOW)
    assert (
        record_lookup(
            unreachable, [], later, LIMITS, asked_at=later, is_complete=True
        ).purchase.intent
        == row.purchase.intent
    )


@pytest.mark.parametrize("row", [asking(), looking(), looking(until=NOW - MINUTE)])
@pytest.mark.parametrize("is_complete", [True, False])
def test_a_machine_that_is_found_is_adopted_at_any_time(row: Instance, is_complete: bool) -> None:
    adopted = record_lookup(
        row, [seen(Phase.UP)], NOW, LIMITS, asked_at=NOW, is_complete=is_complete
    )
    assert (adopted.machine.novita_id, adopted.status, adopted.purchase.intent) == (
        "m1",
        Status.CREATING,
        None,
    )


def test_of_several_machines_the_oldest_is_adopted_and_the_rest_are_to_be_deleted() -> None:
    several = [
        seen(Phase.UP, novita_id="a unknown age"),
        seen(Phase.UP, novita_id="b young", created_at=NOW - SECOND),
        seen(Phase.UP, novita_id="d old", created_at=NOW - MINUTE),
        seen(Phase.UP, novita_id="c old", created_at=NOW - MINUTE),
        seen(Phase.GOING, novita_id="e going", created_at=NOW - 2 * MINUTE),
    ]
    for row in (looking(), asking()):
        kept = record_lookup(row, several, NOW, LIMITS, asked_at=NOW, is_complete=False)
        assert kept.machine.novita_id == "c old"
        assert kept.duplicate_ids == ("d old", "b young", "a unknown age", "e going")


def test_a_machine_that_is_already_going_is_adopted_when_there_is_no_other() -> None:
    going = [seen(Phase.GOING, created_at=NOW)]
    kept = record_lookup(looking(), going, NOW, LIMITS, asked_at=NOW, is_complete=True)
    assert (kept.machine.novita_id, kept.duplicates) == ("m1", ())


def test_nothing_is_concluded_before_the_window_ends() -> None:
    row = record_lookup(
        looking(),
        [],
        NOW + WINDOW - SECOND,
        LIMITS,
        asked_at=NOW + WINDOW - SECOND,
        is_complete=True,
    )
    assert row.purchase.intent is not None
    assert row.purchase.intent.lookups == 1


def test_a_listing_that_took_long_to_arrive_is_as_old_as_its_question() -> None:
    asked_at = NOW + WINDOW - SECOND
    late = NOW + WINDOW + MINUTE
    row = record_lookup(looking(), [], late, LIMITS, asked_at=asked_at, is_complete=True)
    assert row.purchase.intent is not None


def test_an_incomplete_listing_never_shows_that_nothing_was_bought() -> None:
    row = record_lookup(
        looking(), [], NOW + 60 * MINUTE, LIMITS, asked_at=NOW + 60 * MINUTE, is_complete=False
    )
    assert row.purchase.intent is not None


def test_a_complete_listing_after_the_window_shows_that_nothing_was_bought() -> None:
    row = record_lookup(
        looking(), [], NOW + WINDOW, LIMITS, asked_at=NOW + WINDOW, is_complete=True
    )
    assert (row.purchase.intent, row.status, row.purchase.attempts) == (None, Status.REQUESTED, ())


def test_look_ups_come_soon_at_first_and_calmer_later() -> None:
    row, now, pauses = record_lost_answer(asking(), NOW, LIMITS), NOW, list[timedelta]()
    for _ in range(5):
        assert row.purchase.intent is not None
        assert row.purchase.intent.lookup_at is not None
        pauses.append(row.purchase.intent.lookup_at - now)
        now = row.purchase.intent.lookup_at
        row = postpone_lookup(row, now)
    assert pauses == [SECOND, 3 * SECOND, 8 * SECOND, 15 * SECOND, 15 * SECOND]


def test_a_row_that_buys_nothing_is_not_changed_by_look_ups() -> None:
    row = instance(Status.RUNNING)
    assert record_lost_answer(row, NOW, LIMITS) == row
    assert postpone_lookup(row, NOW) == row
    assert record_lookup(row, [seen(Phase.UP)], NOW, LIMITS, asked_at=NOW, is_complete=True) == row


def test_an_order_that_nobody_waits_for_any_more_is_tried_again_until_its_deadline() -> None:
    row = requested()
    late = row.created_at + LIMITS.order_patience
    waiting = record_nothing_chosen(row, NovitaUnavailable(), late, LIMITS)
    assert waiting.status is Status.REQUESTED
    assert waiting.purchase.try_at is not None
    assert decide(waiting, late, LIMITS) == Wait(waiting.purchase.try_at)
    assert decide(waiting, waiting.purchase.try_at, LIMITS) == ChooseOffer()
    refused = record_refusal(
        record_choice(row, OFFER, TEMPLATE, late), OFFER, RateLimited(), late, LIMITS
    )
    assert (refused.status, refused.purchase.intent) == (Status.REQUESTED, None)


def test_an_order_whose_caller_waits_is_told_that_novita_is_unreachable() -> None:
    row = requested()
    failed = record_nothing_chosen(row, NovitaUnavailable("Away."), row.created_at, LIMITS)
    assert failed.reason == Reason("novita_unavailable", "Away.")


@pytest.mark.parametrize("error", [NovitaUnavailable(), NovitaTimeout(), RateLimited()])
def test_an_order_that_failed_for_a_while_and_bought_nothing_may_be_placed_anew(
    error: GpuKeeperError,
) -> None:
    assert is_safe_to_repeat(record_nothing_chosen(requested(), error, NOW, LIMITS))
    assert is_safe_to_repeat(record_refusal(asking(), OFFER, error, NOW, LIMITS))


@pytest.mark.parametrize(
    "row",
    [
        requested(),
        record_nothing_chosen(requested(), NothingForSale(), NOW, LIMITS),
        record_refusal(asking(), OFFER, InsufficientBalance(), NOW, LIMITS),
        instance(Status.FAILED, reason=Reason("novita_timeout", "Late.")),
        fail(asking(), "novita_timeout", "Late.", NOW),
        fail(requested(has_lost_answer=True), "novita_unavailable", "Away.", NOW),
        replace(fail(requested(), "novita_timeout", "Late.", NOW), status=Status.DELETED),
    ],
)
def test_an_order_is_not_placed_anew_when_it_goes_on_was_refused_or_may_have_bought(
    row: Instance,
) -> None:
    assert not is_safe_to_repeat(row)


def test_an_instance_whose_id_another_machine_got_is_lost_and_says_to_whom() -> None:
    owner = requested(id="ins_2")
    lost = give_up_machine(instance(Status.RUNNING), "m1", owner, NOW)
    assert (lost.status, lost.machine.novita_id, lost.machine.gone_at) == (Status.LOST, None, NOW)
    assert lost.reason == Reason(
        "gone_at_novita", "Novita's id 'm1' is now that of the machine of ins_2."
    )


@pytest.mark.parametrize("status", [Status.FAILED, Status.RECLAIMED, Status.LOST])
def test_an_instance_that_has_ended_gives_its_id_up_and_stays_what_it_is(status: Status) -> None:
    gone_at = NOW - MINUTE if status is Status.LOST else None
    freed = give_up_machine(instance(status, gone_at=gone_at), "m1", requested(id="ins_2"), NOW)
    assert (freed.status, freed.machine.novita_id, freed.machine.gone_at) == (
        status,
        None,
        gone_at or NOW,
    )


def test_an_instance_that_is_being_deleted_has_come_to_its_end_with_its_id() -> None:
    deleted = give_up_machine(instance(Status.DELETING), "m1", requested(id="ins_2"), NOW)
    assert (deleted.status, deleted.machine.novita_id) == (Status.DELETED, None)


def test_an_instance_with_another_machine_gives_nothing_up() -> None:
    row = instance(Status.RUNNING)
    assert give_up_machine(row, "m2", requested(id="ins_2"), NOW) is row
