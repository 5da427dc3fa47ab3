"""WHERE THE STATE MACHINE IS: what the owner may ask for, and the one thing to do next.

::

    order ──► requested ──accepted──► creating ──► starting ──► running ──stop──► stopping
                  │                       │          │  ▲         │ │                │
                  │ refused      deadline,│boot error│  └─restart─┘ │                ▼
                  ▼                       ▼          │  └──start────│──────────── stopped
                failed ◄──────────────────┴──────────┘              ├──► reclaimed (spot)
                  └── comes up late after all ──► running           └──► lost (gone, unasked)

    any status ──delete──► deleting ──Novita confirms the absence──► deleted

``decide`` reads the row alone: what Novita says has been folded into it before
(:mod:`gpukeeper.domain.lifecycle.observations`), and so has what came of a step
(:mod:`gpukeeper.domain.lifecycle.purchases`, :mod:`gpukeeper.domain.lifecycle.command_results`,
:mod:`gpukeeper.domain.lifecycle.duplicates`).  Every function is pure: the row,
the time and the limits go in, a new row or a step comes out.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.domain.instances import (
    Command,
    DesiredState,
    Instance,
    OnFailure,
    PriorState,
    Reason,
    Status,
)
from gpukeeper.domain.lifecycle.commands import check_allowed
from gpukeeper.domain.machines import Machine, Phase, SpotSignal

# Statuses that lead to `running` and that the start-up deadline watches.
COMING_UP = frozenset({Status.REQUESTED, Status.CREATING, Status.STARTING})
# Statuses that end by themselves: while there are any, Novita is looked at often.
IN_TRANSIT = COMING_UP | {Status.STOPPING, Status.DELETING}
# What Novita says of a machine on its way up.
RISING = frozenset({Phase.PREPARING, Phase.STARTING})

# What is said when Novita refuses for good what the owner wanted.
REFUSAL_CODES = {verb: f"{verb.value}_refused" for verb in Command}


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the controller is.

    ``adoption_window`` is how long Novita may keep a new machine out of its answers;
    ``order_patience`` how long a caller waits for the answer to an order;
    ``ask_again_after`` doubles with each repetition of a verb, and once more for a verb that
    Novita has accepted, up to ``ask_again_ceiling``.
    """

    adoption_window: timedelta = timedelta(seconds=90)
    order_patience: timedelta = timedelta(seconds=20)
    ask_again_after: timedelta = timedelta(seconds=30)
    ask_again_ceiling: timedelta = timedelta(minutes=5)
    retry_ceiling: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until then, or until something else happens."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """Change the row without asking Novita anything."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class ChooseOffer:
    """Rank what is for sale and store the intent to buy the best offer."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look for the machine by its name: the answer to a purchase was lost."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask Novita about this machine alone."""


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Ask Novita to change the machine."""

    verb: Command


@dataclass(frozen=True, slots=True)
class DeleteDuplicate:
    """Ask Novita to delete a machine that the order does not need, and whether it is gone."""

    novita_id: str


Step = Wait | ChangeStatus | ChooseOffer | LookUp | Confirm | SendCommand | DeleteDuplicate


def decide(instance: Instance, now: datetime, limits: Limits) -> Step:
    """Return the one thing to do next for an instance."""
    step = _decide(instance, now, limits)
    surplus = [machine for machine in instance.duplicates if machine.gone_at is None]
    if not isinstance(step, Wait) or not surplus:
        return step
    next_one = min(surplus, key=lambda machine: machine.try_at)
    if now >= next_one.try_at:
        return DeleteDuplicate(next_one.novita_id)
    return Wait(min(next_one.try_at, step.until or next_one.try_at))


def _decide(instance: Instance, now: datetime, limits: Limits) -> Step:
    if is_coming_up(instance) and now >= _gives_up_at(instance):
        return ChangeStatus(change_status(instance, Status.FAILED, now, reason=_too_late(instance)))
    if _is_to_be_deleted_after_failure(instance):
        return ChangeStatus(_delete(instance, now))
    intent = instance.purchase.intent
    if intent is not None:
        lookup_at = intent.lookup_at
        return Wait(lookup_at) if lookup_at and now < lookup_at else LookUp()
    if instance.status is Status.DELETING and not instance.is_watched:
        return ChangeStatus(mark_deleted(instance, now))
    if instance.status is Status.REQUESTED:
        try_at = instance.purchase.try_at
        if try_at is None or now >= try_at:
            return ChooseOffer()
        return Wait(min(try_at, instance.deadline_at))
    if not instance.is_watched:
        return Wait(None)
    if instance.watch.confirm_at is not None and now >= instance.watch.confirm_at:
        return Confirm()
    return _earliest(_next_verb(instance, now, limits), instance)


def schedule(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance with ``due_at`` set to when it next wants attention."""
    step = decide(instance, now, limits)
    return replace(instance, due_at=step.until if isinstance(step, Wait) else now)


def request_command(instance: Instance, verb: Command, now: datetime) -> Instance:
    """Return the instance with the owner's wish stored; the engine carries it out.

    Deleting what is being deleted changes nothing.  Raises WrongStatus when the status does not
    allow the verb.
    """
    if verb is Command.DELETE:
        return _delete(instance, now)
    check_allowed(instance, verb)
    if verb is Command.STOP:
        return change_status(
            instance,
            Status.STOPPING,
            now,
            desired_state=DesiredState.STOPPED,
            deadline_at=now + instance.order.startup_timeout,
            machine=_seen_before_a_start(instance),
            **_afresh(instance),
        )
    machine = instance.machine.disconnect()
    if verb is Command.START:
        # What was said of the spot machine before it was down does not hold for its next life.
        machine = replace(machine, spot_signal=SpotSignal.NONE, reclaim_at=None)
    return change_status(
        instance,
        Status.STARTING,
        now,
        desired_state=DesiredState.RUNNING,
        pending_command=verb,
        deadline_at=now + instance.order.startup_timeout,
        machine=machine,
        **_afresh(instance),
    )


def change_status(
    instance: Instance,
    status: Status,
    now: datetime,
    *,
    reason: Reason | None = None,
    **facts: Any,
) -> Instance:
    """Return the instance in a new status with the times that go with it.

    ``facts`` are further fields to set.  What the owner wanted before is settled or overtaken.
    """
    changes: dict[str, Any] = {"pending_command": None, "prior": None}
    if status is Status.STARTING and instance.status is not Status.CREATING:
        changes["started_at"] = now
    if status is Status.RUNNING:
        changes["running_at"] = now
    return replace(instance, status=status, reason=reason, **(changes | facts))


def fail(instance: Instance, code: str, message: str, now: datetime) -> Instance:
    """Return the instance as failed; its machine, if there is one, is still watched."""
    return change_status(instance, Status.FAILED, now, reason=Reason(code, message))


def mark_deleted(instance: Instance, now: datetime) -> Instance:
    """Return the instance as deleted: Novita confirmed that there is no machine."""
    return change_status(
        instance,
        Status.DELETED,
        now,
        reason=drop_refusal(instance.reason),
        deleted_at=now,
        machine=instance.machine.end(now),
        watch=replace(instance.watch, confirm_at=None),
    )


def is_coming_up(instance: Instance) -> bool:
    """Whether the start-up deadline holds: also for a stop that waits for its machine to be up.

    Novita stops what runs and nothing else, so a machine that never comes up is never stopped.
    """
    if instance.status is Status.STOPPING:
        return instance.is_to_be_stopped and instance.machine.phase in RISING
    return instance.status in COMING_UP


def drop_refusal(reason: Reason | None) -> Reason | None:
    """Return a reason unless it is that Novita refuses a verb, which has come to its end."""
    is_refusal = reason is not None and reason.code in REFUSAL_CODES.values()
    return None if is_refusal else reason


def is_new(instance: Instance, now: datetime, limits: Limits) -> bool:
    """Whether Novita may still keep this machine out of its answers (API notes §16.2).

    What it has shown once is not new: its absence is an absence.
    """
    accepted_at, was_shown = instance.purchase.accepted_at, instance.watch.observed_at is not None
    return accepted_at is not None and not was_shown and now < accepted_at + limits.adoption_window


def _afresh(instance: Instance) -> dict[str, Any]:
    """Return what a command changes: answers to the one before it, and doubts, are wiped.

    ``prior`` is what to go back to if Novita refuses; what was refused before is over.
    """
    prior = PriorState(instance.status, instance.desired_state, drop_refusal(instance.reason))
    return {"prior": prior, "last_command": None, "watch": instance.watch.renew()}


def _seen_before_a_start(instance: Instance) -> Machine:
    """Return the machine; a start may have had its effect since it was seen down."""
    machine = instance.machine
    is_starting = instance.status in (Status.CREATING, Status.STARTING)
    return replace(machine, phase=None) if is_starting and machine.phase is Phase.DOWN else machine


def _next_verb(instance: Instance, now: datetime, limits: Limits) -> Step:
    match instance.status:
        case Status.DELETING:
            return _ask(instance, Command.DELETE, now, limits)
        case Status.STOPPING if instance.is_to_be_stopped and not _is_falling(instance):
            return _ask(instance, Command.STOP, now, limits)
        case Status.CREATING | Status.STARTING if _is_down(instance):
            return _ask(instance, Command.START, now, limits)
        case Status.STARTING if instance.pending_command is Command.RESTART:
            return _ask(instance, Command.RESTART, now, limits)
    return Wait(None)


def _ask(instance: Instance, verb: Command, now: datetime, limits: Limits) -> Step:
    asked = instance.last_command
    if asked is None or asked.verb is not verb:
        return SendCommand(verb)
    doublings = asked.times - 1 + asked.is_acknowledged
    patience = min(limits.ask_again_after * 2 ** min(doublings, 16), limits.ask_again_ceiling)
    return SendCommand(verb) if now >= asked.at + patience else Wait(asked.at + patience)


def _is_falling(instance: Instance) -> bool:
    return instance.machine.phase in (Phase.GOING_DOWN, Phase.GOING, Phase.DOWN)


def _is_down(instance: Instance) -> bool:
    """Whether nothing will come up unless it is started; of an unknown word the owner decides."""
    phase, pending = instance.machine.phase, instance.pending_command
    return phase is Phase.DOWN or (phase is Phase.UNKNOWN and pending is Command.START)


def _earliest(step: Step, instance: Instance) -> Step:
    """Let a rest end at the next time that the row itself names."""
    if not isinstance(step, Wait):
        return step
    gives_up_at = _gives_up_at(instance) if is_coming_up(instance) else None
    times = [at for at in (step.until, instance.watch.confirm_at, gives_up_at) if at is not None]
    return Wait(min(times, default=None))


def _gives_up_at(instance: Instance) -> datetime:
    """Return when a start has failed: at the deadline, unless Novita could not be asked since.

    An outage changes nothing but the time of the next look (contract 2.5): what is due to be
    asked about may well be running.
    """
    deadline_at, confirm_at = instance.deadline_at, instance.watch.confirm_at
    observed_at = instance.watch.observed_at
    has_been_seen_since = observed_at is not None and observed_at >= deadline_at
    if confirm_at is None or has_been_seen_since:
        return deadline_at
    return max(deadline_at, confirm_at)


def _delete(instance: Instance, now: datetime) -> Instance:
    if instance.desired_state is DesiredState.DELETED:
        return instance
    return change_status(
        instance,
        Status.DELETING,
        now,
        reason=drop_refusal(instance.reason),
        desired_state=DesiredState.DELETED,
        **_afresh(instance),
    )


def _is_to_be_deleted_after_failure(instance: Instance) -> bool:
    """A first start-up that failed is deleted if the order says so; data is never at stake.

    What is yet to be asked about may have come up after all.  What Novita refuses to delete for
    good is not asked again.
    """
    asked = instance.last_command
    is_refused = asked is not None and asked.verb is Command.DELETE and asked.refusal is not None
    return (
        instance.status is Status.FAILED
        and not is_refused
        and instance.order.on_failure is OnFailure.DELETE
        and instance.running_at is None
        and instance.watch.confirm_at is None
        and (instance.is_watched or instance.purchase.intent is not None)
    )


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
