"""What an instance may need next: one small function for each rule, in the order of :data:`RULES`.

A rule returns the step that is due, or the time at which it next cares, or None.  A policy is one
more rule and its field.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from gpukeeper.domain.instances import Command, Instance, OnFailure, Reason, Status
from gpukeeper.domain.lifecycle.commands import request_deletion
from gpukeeper.domain.lifecycle.steps import (
    ChangeStatus,
    ChooseOffer,
    Confirm,
    DeleteDuplicate,
    LookUp,
    SendCommand,
    Step,
)
from gpukeeper.domain.lifecycle.transitions import (
    Limits,
    change_status,
    is_coming_up,
    mark_deleted,
)
from gpukeeper.domain.machines import Phase

Next = Step | datetime | None
Rule = Callable[[Instance, datetime, Limits], Next]


def fail_at_deadline(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Give a start up that takes too long."""
    if not is_coming_up(instance):
        return None
    gives_up_at = _gives_up_at(instance)
    # The last observation may be old: a machine that may be running is asked about first.
    is_late = now >= gives_up_at
    return (
        ChangeStatus(_give_up, is_confirmed_first=instance.is_watched) if is_late else gives_up_at
    )


def delete_after_failure(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Delete a first start-up that failed if the order says so; data is never at stake.

    What is yet to be asked about may have come up after all.  What Novita refuses to delete for
    good is not asked again.
    """
    asked = instance.last_command
    is_refused = asked is not None and asked.verb is Command.DELETE and asked.refusal is not None
    is_to_be_deleted = (
        instance.status is Status.FAILED
        and not is_refused
        and instance.order.on_failure is OnFailure.DELETE
        and instance.running_at is None
        and instance.watch.confirm_at is None
        and (instance.is_watched or instance.purchase.intent is not None)
    )
    return ChangeStatus(request_deletion) if is_to_be_deleted else None


def look_up_lost_answer(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Look up what a purchase came to that was not answered."""
    intent = instance.purchase.intent
    return None if intent is None else _due(LookUp(), intent.lookup_at, now)


def conclude_deletion(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Call deleted what has no machine, and may not get one."""
    has_machine = instance.is_watched or instance.purchase.intent is not None
    is_over = instance.status is Status.DELETING and not has_machine
    return ChangeStatus(mark_deleted) if is_over else None


def choose_offer(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Buy what was ordered."""
    purchase = instance.purchase
    if instance.status is not Status.REQUESTED or purchase.intent is not None:
        return None
    return _due(ChooseOffer(), purchase.try_at, now)


def confirm(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Ask about a machine alone that a listing says too little of."""
    confirm_at = instance.watch.confirm_at
    if not instance.is_watched or confirm_at is None:
        return None
    return _due(Confirm(), confirm_at, now)


def send_command(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Have Novita do what is wanted, and ask again for what it has not done."""
    command = _needed_command(instance) if instance.is_watched else None
    if command is None:
        return None
    last = instance.last_command
    if last is None or last.verb is not command:
        return SendCommand(command)
    doublings = last.times - 1 + last.is_acknowledged
    patience = min(limits.ask_again_after * 2 ** min(doublings, 16), limits.ask_again_ceiling)
    return _due(SendCommand(command), last.at + patience, now)


def delete_duplicate(instance: Instance, now: datetime, limits: Limits) -> Next:
    """Delete a second machine of the order."""
    duplicates = [machine for machine in instance.duplicates if machine.gone_at is None]
    if not duplicates:
        return None
    first = min(duplicates, key=lambda machine: machine.try_at)
    return _due(DeleteDuplicate(first.novita_id), first.try_at, now)


# The first that names a step is followed.
RULES: tuple[Rule, ...] = (
    fail_at_deadline,
    delete_after_failure,
    look_up_lost_answer,
    conclude_deletion,
    choose_offer,
    confirm,
    send_command,
    delete_duplicate,
)


def _due(step: Step, at: datetime | None, now: datetime) -> Next:
    return step if at is None or now >= at else at


def _gives_up_at(instance: Instance) -> datetime:
    """Return when a start has failed: at the deadline, unless Novita could not be asked since.

    An outage changes nothing but the time of the next sweep (contract 2.5): what is due to be
    asked about may well be running.
    """
    deadline_at, confirm_at = instance.deadline_at, instance.watch.confirm_at
    observed_at = instance.watch.observed_at
    has_been_seen_since = observed_at is not None and observed_at >= deadline_at
    if confirm_at is None or has_been_seen_since:
        return deadline_at
    return max(deadline_at, confirm_at)


def _needed_command(instance: Instance) -> Command | None:
    match instance.status:
        case Status.DELETING:
            return Command.DELETE
        case Status.STOPPING if instance.is_to_be_stopped and not _is_falling(instance):
            return Command.STOP
        case Status.CREATING | Status.STARTING if _is_down(instance):
            return Command.START
        case Status.STARTING if instance.pending_command is Command.RESTART:
            return Command.RESTART
    return None


def _is_falling(instance: Instance) -> bool:
    return instance.machine.phase in (Phase.GOING_DOWN, Phase.GOING, Phase.DOWN)


def _is_down(instance: Instance) -> bool:
    """Whether nothing will come up unless it is started; of an unknown word the owner decides."""
    phase, pending = instance.machine.phase, instance.pending_command
    return phase is Phase.DOWN or (phase is Phase.UNKNOWN and pending is Command.START)


def _give_up(instance: Instance, now: datetime) -> Instance:
    return change_status(instance, Status.FAILED, now, reason=_too_late(instance))


def _too_late(instance: Instance) -> Reason:
    """Return why the deadline is the end; what a machine failed of before stays the reason."""
    prior = instance.prior
    if prior is not None and prior.status is Status.FAILED and prior.reason is not None:
        return prior.reason
    if instance.is_watched:
        begun_at = instance.started_at or instance.created_at
        word = instance.machine.novita_status
        said = f"; Novita says '{word}'" if word else ""
        lasted = _seconds(instance.deadline_at - begun_at)
        return Reason("startup_timeout", f"Not running {lasted} s after it was started{said}.")
    lasted = _seconds(instance.deadline_at - instance.created_at)
    if instance.purchase.intent is None:
        return Reason("novita_timeout", f"Not bought {lasted} s after the order.")
    if instance.reason is not None:
        return instance.reason
    message = (
        f"Novita was asked to sell, and {lasted} s after the order it is not known whether it did: "
        "a machine may exist and be billed. It goes on being looked up."
    )
    return Reason("novita_timeout", message)


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
