"""What comes of trying to buy: the choice, Novita's answer, and the look-up of a lost answer.

The intent (``buying``) is stored before Novita is asked, and removed together with its answer.
So a row that is found with an intent has lost the answer.  That is stored first, whatever comes of
the look-up; then its machine is looked up by its unique name before anything is bought again:
never two machines for one order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from gpukeeper.domain.errors import (
    GpuKeeperError,
    NothingForSale,
    NovitaError,
    NovitaTimeout,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
    RateLimited,
)
from gpukeeper.domain.instances import Attempt, Instance, PurchaseIntent, Reason, Status
from gpukeeper.domain.lifecycle import duplicates, observations
from gpukeeper.domain.lifecycle.transitions import Limits, change_status, fail, mark_deleted
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.products import Offer, PurchaseRequest, Template

# Between tries to place an order that Novita could not take: its outages last minutes.
_TRY_AGAIN_AFTER = timedelta(seconds=15)

# Why an order fails that would succeed when Novita is itself again.
_TEMPORARY = frozenset({NovitaUnavailable.code, NovitaTimeout.code, RateLimited.code})

# Between looks for a machine whose purchase was not answered: soon at first, then calmer.
_LOOKUP_DELAYS = (timedelta(seconds=1), timedelta(seconds=3), timedelta(seconds=8))
_LOOKUP_DELAY = timedelta(seconds=15)

# Between looks at machines whose names Novita may have changed: each lists the whole account.
_SUSPECTS_AGAIN_AFTER = timedelta(minutes=1)

# Why an order fails, or waits, while it is open whether Novita has sold.
NAME_ALTERED = "name_altered"
_OPEN = frozenset({NovitaTimeout.code, NAME_ALTERED})

ACCEPTED = "accepted"
ABOVE_LIMIT = "above_limit"

# After these the next offer is tried, and never the same one again for this order.
_PASSED_OVER = frozenset({OutOfStock.code, ABOVE_LIMIT})


def choose_offer(instance: Instance, offers: Sequence[Offer]) -> Offer | None:
    """Return the best offer that was neither sold out nor too dear while this order was tried."""
    passed_over = {
        (attempt.product_id, attempt.region)
        for attempt in instance.purchase.attempts
        if attempt.outcome in _PASSED_OVER
    }
    return next(
        (offer for offer in offers if (offer.product_id, offer.region) not in passed_over), None
    )


def record_choice(
    instance: Instance, offer: Offer | None, template: Template, now: datetime
) -> Instance:
    """Return the instance with the intent to buy, or failed if nothing is left to try.

    An order that was cancelled meanwhile gets no intent.
    """
    if instance.status is not Status.REQUESTED:
        return instance
    if offer is None:
        attempts = instance.purchase.attempts
        tried = ", ".join(f"{attempt.product_id} in {attempt.region}" for attempt in attempts)
        if any(attempt.outcome == ABOVE_LIMIT for attempt in attempts):
            message = f"Sold out, or above the limit when it was to be bought: {tried}."
            return fail(instance, "price_above_limit", message, now)
        return fail(instance, "out_of_stock", f"Novita had none left of: {tried}.", now)
    name = offer.product_name
    return replace(
        instance,
        purchase=replace(instance.purchase, intent=PurchaseIntent(offer, since=now)),
        machine=replace(instance.machine, image_url=template.image_url, product_name=name),
    )


def compose_request(
    instance: Instance, offer: Offer, template: Template, *, envs: Mapping[str, str]
) -> PurchaseRequest:
    """Return what Novita is told: the template's parts with the order's laid over them.

    ``envs`` are the order's environment values, which an instance's row does not carry.
    """
    order = instance.order
    return PurchaseRequest(
        name=instance.novita_name,
        offer=offer,
        template=template,
        rootfs_size_gb=order.rootfs_size_gb,
        envs={**template.envs, **envs},
        ports=template.ports if order.ports is None else order.ports,
        command=template.command if order.command is None else order.command,
    )


def describe_considered(error: NothingForSale, now: datetime) -> tuple[Attempt, ...]:
    """Return the offers that stood to choose from when nothing fitted, and why none was taken."""
    is_too_dear = error.error_code != NothingForSale.code
    outcome = ABOVE_LIMIT if is_too_dear else error.error_code
    return tuple(_attempt(offer, outcome, None, now) for offer in error.offers)


def record_nothing_chosen(
    instance: Instance, error: GpuKeeperError, now: datetime, limits: Limits
) -> Instance:
    """Return the instance after nothing could be chosen: failed, unless it was cancelled."""
    if instance.status is not Status.REQUESTED:
        return instance
    return _give_up_or_wait(instance, error, now, limits)


def record_purchase(instance: Instance, offer: Offer, novita_id: str, now: datetime) -> Instance:
    """Return the instance with the machine that Novita sold, whatever became of it meanwhile.

    One that was cancelled or failed while Novita was asked keeps its status and knows its
    machine, so that it can be deleted.
    """
    owned = replace(
        instance,
        started_at=now,
        machine=replace(
            instance.machine,
            novita_id=novita_id,
            product_id=offer.product_id,
            product_name=offer.product_name,
            cluster_id=offer.cluster_id,
            region=offer.region,
            price_per_hour=offer.price_per_hour,
        ),
        purchase=replace(
            instance.purchase.close(_attempt(offer, ACCEPTED, None, now)), accepted_at=now
        ),
        watch=replace(instance.watch, failures=0),
    )
    if instance.status is not Status.REQUESTED:
        return replace(owned, reason=_bought_late(instance, novita_id))
    # The time to come up begins now, however long the purchase took.
    deadline_at = now + instance.order.startup_timeout
    return change_status(owned, Status.CREATING, now, deadline_at=deadline_at)


def record_refusal(
    instance: Instance, offer: Offer, error: GpuKeeperError, now: datetime, limits: Limits
) -> Instance:
    """Return the instance after Novita refused, did not answer, or was not asked to sell.

    Out of stock, or a price that rose above the limit, leads to the next offer, a lost answer to
    a look-up, anything else to failure.
    """
    if isinstance(error, OutcomeUnknown):
        return record_lost_answer(instance, now, limits)
    is_too_dear = isinstance(error, NothingForSale)
    outcome = ABOVE_LIMIT if is_too_dear else error.error_code
    attempt = _attempt(offer, outcome, error.message, now)
    refused = replace(instance, purchase=instance.purchase.close(attempt))
    if outcome in _PASSED_OVER or instance.status is not Status.REQUESTED:
        return refused
    return _give_up_or_wait(refused, error, now, limits)


def record_lost_answer(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance with a look-up under way for as long as Novita may lag behind.

    Whoever finds an intent that is not its own stores this before it asks Novita anything: Novita
    may be away for hours, and a machine of this row's name is the row's from now on.
    """
    intent = instance.purchase.intent
    if intent is None:
        return instance
    looking = replace(
        intent,
        lookup_until=now + limits.adoption_window,
        lookup_at=now + _LOOKUP_DELAYS[0],
        lookups=0,
    )
    purchase = replace(instance.purchase, intent=looking, has_lost_answer=True)
    return replace(instance, purchase=purchase)


def record_lookup(
    instance: Instance,
    found: Sequence[Observation],
    now: datetime,
    limits: Limits,
    *,
    asked_at: datetime,
    is_complete: bool,
) -> Instance:
    """Return the instance after Novita listed the machines of exactly its name.

    The oldest that stays is adopted, the rest are to be deleted.  None in a complete listing that
    was asked for after the whole window means that nothing was bought; one that took until then
    to arrive does not.
    """
    intent = instance.purchase.intent
    if intent is None:
        return instance
    if found:
        oldest, *rest = sorted(
            found,
            key=lambda seen: (seen.phase is Phase.GOING, seen.created_at or now, seen.novita_id),
        )
        owner = record_purchase(
            replace(instance, purchase=replace(instance.purchase, has_lost_answer=True)),
            intent.offer,
            oldest.novita_id,
            now,
        )
        return duplicates.record_duplicates(owner, [seen.novita_id for seen in rest], now, limits)
    if intent.lookup_until is None:
        return record_lost_answer(instance, now, limits)
    if is_complete and asked_at >= intent.lookup_until:
        purchase = replace(instance.purchase, intent=None)
        return replace(instance, reason=_nothing_bought(instance), purchase=purchase)
    return postpone_lookup(instance, now)


def record_found_machine(
    instance: Instance, seen: Observation, now: datetime, limits: Limits
) -> Instance:
    """Return the instance with the machine of its name that a look has shown.

    An order that has no machine and no intent did not buy it as far as this store knows: a later
    copy of the store did.
    """
    if instance.status is not Status.REQUESTED or instance.purchase.intent is not None:
        return instance
    owner = replace(
        instance,
        started_at=now,
        machine=instance.machine.identify(seen),
        purchase=replace(instance.purchase, accepted_at=now),
        watch=replace(instance.watch, failures=0),
    )
    deadline_at = now + instance.order.startup_timeout
    return observations.observe(
        change_status(owner, Status.CREATING, now, deadline_at=deadline_at), seen, now, limits
    )


def hold_purchase(instance: Instance, suspects: Sequence[Observation], now: datetime) -> Instance:
    """Return the instance after no machine of its name was found, but some that may be its own.

    Their names are what Novita may have made of the name that was sent.  While one stands there
    nothing is bought again; a person decides.  The look-up goes on, more calmly.
    """
    intent = instance.purchase.intent
    if intent is None:
        return instance
    shown = ", ".join(f"{seen.novita_id} ('{seen.name}')" for seen in suspects)
    message = (
        f"Novita did not answer the purchase and shows no machine called '{instance.novita_name}', "
        f"but one that may be it: {shown}. Nothing is bought again while it exists."
    )
    held = replace(intent, lookup_at=now + _SUSPECTS_AGAIN_AFTER)
    purchase = replace(instance.purchase, intent=held)
    return replace(instance, reason=Reason(NAME_ALTERED, message), purchase=purchase)


def give_up_machine(instance: Instance, novita_id: str, owner: Instance, now: datetime) -> Instance:
    """Return the instance after Novita sold the machine with its machine's id to another order.

    A machine's name belongs to one order, so this is another machine: the one that the instance
    had is gone (with the account, or the simulator, that it was bought of).  It gives up the id
    too, or what is said and asked of the owner's machine would be said and asked of it.
    """
    if instance.machine.novita_id != novita_id:
        return instance
    freed = replace(
        instance,
        machine=replace(instance.machine.end(now), novita_id=None),
        watch=replace(instance.watch.look_again(), confirm_at=None),
    )
    if instance.status is Status.DELETING:
        return mark_deleted(freed, now)
    had_ended = instance.machine.gone_at is not None
    if had_ended or instance.status in (Status.FAILED, Status.RECLAIMED):
        return freed
    message = f"Novita's id '{novita_id}' is now that of the machine of {owner.id}."
    return change_status(freed, Status.LOST, now, reason=Reason("gone_at_novita", message))


def is_safe_to_repeat(instance: Instance) -> bool:
    """Whether an order failed for a temporary reason and certainly bought nothing.

    One that ever lost an answer is not certain: Novita may still show what it has bought.
    """
    reason = instance.reason
    is_temporary = reason is not None and reason.code in _TEMPORARY
    purchase = instance.purchase
    is_certain = not (instance.machine.novita_id or purchase.intent or purchase.has_lost_answer)
    return instance.status is Status.FAILED and is_temporary and is_certain


def postpone_lookup(instance: Instance, now: datetime) -> Instance:
    """Return the instance with the next look-up put off: Novita could not be asked, or lags."""
    intent = instance.purchase.intent
    if intent is None:
        return instance
    lookups = intent.lookups + 1
    delay = _LOOKUP_DELAYS[lookups] if lookups < len(_LOOKUP_DELAYS) else _LOOKUP_DELAY
    intent = replace(intent, lookups=lookups, lookup_at=now + delay)
    return replace(instance, purchase=replace(instance.purchase, intent=intent))


def _bought_late(instance: Instance, novita_id: str) -> Reason | None:
    """Return the reason once it is known that a machine was bought after all."""
    reason = instance.reason
    if reason is None or reason.code not in _OPEN:
        return reason
    message = f"Novita's answer came too late: it has sold the machine '{novita_id}'."
    return Reason(NovitaTimeout.code, message)


def _nothing_bought(instance: Instance) -> Reason | None:
    """Return the reason once it is no longer that a machine may exist."""
    reason = instance.reason
    if reason is None or reason.code not in _OPEN:
        return reason
    if instance.status is Status.REQUESTED:
        return None
    return Reason(
        NovitaTimeout.code,
        "Novita did not answer the purchase; no machine of its name was found, so none was bought.",
    )


def _give_up_or_wait(
    instance: Instance, error: GpuKeeperError, now: datetime, limits: Limits
) -> Instance:
    """Fail an order while its caller waits for the answer; later, try until the deadline."""
    is_waited_for = now < instance.created_at + limits.order_patience
    if is_waited_for or not isinstance(error, NovitaUnavailable):
        return change_status(instance, Status.FAILED, now, reason=_reason(error, now))
    return replace(instance, purchase=replace(instance.purchase, try_at=now + _TRY_AGAIN_AFTER))


def _reason(error: GpuKeeperError, now: datetime) -> Reason:
    said = error.reason if isinstance(error, NovitaError) else None
    wait = error.retry_after if isinstance(error, NovitaUnavailable) else None
    return Reason(error.error_code, error.message, said, now + wait if wait else None)


def _attempt(offer: Offer, outcome: str, detail: str | None, now: datetime) -> Attempt:
    return Attempt(offer.product_id, offer.region, offer.price_per_hour, outcome, detail, now)
