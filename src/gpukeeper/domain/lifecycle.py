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
(:mod:`gpukeeper.domain.watching`), and so has what came of a step (:mod:`gpukeeper.domain.buying`
and :func:`answered`).  Every function is pure: the row, the time and the limits go in, a new row
or a step comes out.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.domain.errors import (
    BadCredentials,
    GpuKeeperError,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaUnavailable,
    OutcomeUnknown,
    WrongStatus,
)
from gpukeeper.domain.instance import (
    Asked,
    Desired,
    Instance,
    OnFailure,
    Phase,
    Reason,
    SpotSignal,
    Status,
    Verb,
)

# Statuses that lead to `running` and that the start-up deadline watches.
COMING_UP = frozenset({Status.REQUESTED, Status.CREATING, Status.STARTING})
# Statuses that end by themselves: while there are any, Novita is looked at often.
IN_TRANSIT = COMING_UP | {Status.STOPPING, Status.DELETING}

_MAY = {
    Verb.START: frozenset({Status.STOPPED, Status.RECLAIMED, Status.FAILED}),
    Verb.STOP: frozenset({Status.CREATING, Status.STARTING, Status.RUNNING, Status.FAILED}),
    Verb.RESTART: frozenset({Status.RUNNING}),
}

# A deleted machine is usually gone after 2 s (API notes §4), so it is asked about soon after.
CONFIRM_DELETE_AFTER = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the controller is.

    ``adoption_window`` is how long Novita may keep a new machine out of its answers;
    ``ask_again_after`` doubles with each repetition of a verb, and once more for a verb that
    Novita has accepted, up to ``ask_again_ceiling``.
    """

    adoption_window: timedelta = timedelta(seconds=90)
    ask_again_after: timedelta = timedelta(seconds=30)
    ask_again_ceiling: timedelta = timedelta(minutes=5)
    retry_ceiling: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing until then, or until something else happens."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Move:
    """Change the row without asking Novita anything."""

    instance: Instance


@dataclass(frozen=True, slots=True)
class Choose:
    """Rank what is for sale and store the intent to buy the best offer."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look for the machine by its name: the answer to a purchase was lost."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask Novita about this machine alone."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask Novita to change the machine."""

    verb: Verb


Step = Rest | Move | Choose | LookUp | Confirm | Ask


def decide(instance: Instance, now: datetime, limits: Limits) -> Step:
    """Return the one thing to do next for an instance."""
    if instance.status in COMING_UP and now >= instance.deadline_at:
        return Move(fail(instance, "startup_timeout", _too_late(instance), now))
    if _is_to_be_deleted_after_failure(instance):
        return Move(_delete(instance, now))
    if instance.buying is not None:
        lookup_at = instance.buying.lookup_at
        return Rest(lookup_at) if lookup_at and now < lookup_at else LookUp()
    if instance.status is Status.DELETING and not instance.is_watched:
        return Move(conclude_deleted(instance, now))
    if instance.status is Status.REQUESTED:
        return Choose()
    if not instance.is_watched:
        return Rest(None)
    if instance.confirm_at is not None and now >= instance.confirm_at:
        return Confirm()
    return _earliest(_next_verb(instance, now, limits), instance)


def schedule(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance with ``due_at`` set to when it next wants attention."""
    step = decide(instance, now, limits)
    return replace(instance, due_at=step.until if isinstance(step, Rest) else now)


def want(instance: Instance, verb: Verb, now: datetime) -> Instance:
    """Return the instance with the owner's wish stored; the engine carries it out.

    Deleting what is being deleted changes nothing.  Raises WrongStatus when the status does not
    allow the verb.
    """
    if verb is Verb.DELETE:
        return _delete(instance, now)
    if instance.status not in _MAY[verb] or not instance.is_watched:
        allowed = ", ".join(sorted(status.value for status in _MAY[verb]))
        raise WrongStatus(
            f"'{instance.order.name}' is {instance.status.value}; "
            f"{verb.value} needs a machine that is {allowed}."
        )
    if verb is Verb.STOP:
        return become(instance, Status.STOPPING, now, desired=Desired.STOPPED, **_AFRESH)
    return become(
        instance,
        Status.STARTING,
        now,
        desired=Desired.RUNNING,
        restart_wanted=verb is Verb.RESTART,
        deadline_at=now + instance.order.startup_timeout,
        spot_signal=SpotSignal.NONE,
        reclaim_at=None,
        **_AFRESH,
    )


def answered(
    instance: Instance, verb: Verb, error: NovitaError | None, now: datetime, limits: Limits
) -> Instance:
    """Fold Novita's answer to a verb into the row; ``error`` is None when it was accepted.

    An unknown outcome or a temporary error leads to asking again later; "invalid state change"
    to a fresh look, since the verb has often taken effect already (API notes §3.4).
    """
    previous = instance.asked
    times = previous.times + 1 if previous and previous.verb is verb else 1
    is_gone = isinstance(error, NovitaNotFound) and not is_new(instance, now, limits)
    is_acknowledged = error is None or (verb is Verb.DELETE and is_gone)
    asked = replace(
        instance,
        asked=Asked(verb, now, times, is_acknowledged),
        seen_fingerprint=None,
        failures=instance.failures + 1 if _is_temporary(error) else 0,
    )
    if is_acknowledged:
        if verb is Verb.DELETE:
            return replace(asked, confirm_at=now + CONFIRM_DELETE_AFTER)
        return replace(asked, restart_wanted=asked.restart_wanted and verb is not Verb.RESTART)
    if isinstance(error, InvalidStateChange | NovitaNotFound):
        return replace(asked, confirm_at=now)
    if _is_temporary(error) or verb in (Verb.DELETE, Verb.STOP):
        return asked
    if verb is Verb.RESTART:
        return replace(asked, restart_wanted=False, confirm_at=now)
    if instance.status not in COMING_UP:
        return asked
    assert error is not None
    return fail(asked, error.error_code, error.message, now)


def become(
    instance: Instance,
    status: Status,
    now: datetime,
    *,
    reason: Reason | None = None,
    **facts: Any,
) -> Instance:
    """Return the instance in a new status with the times that go with it.

    ``facts`` are further fields to set.  An unchanged status keeps its times.
    """
    is_new_status = status is not instance.status
    changed = replace(instance, status=status, reason=reason)
    if is_new_status and status is Status.STARTING and instance.status is not Status.CREATING:
        changed = replace(changed, started_at=now)
    if is_new_status and status is Status.RUNNING:
        changed = replace(changed, running_at=now)
    return replace(changed, **facts)


def fail(instance: Instance, code: str, message: str, now: datetime) -> Instance:
    """Return the instance as failed; its machine, if there is one, is still watched."""
    return become(instance, Status.FAILED, now, reason=Reason(code, message))


def conclude_deleted(instance: Instance, now: datetime) -> Instance:
    """Return the instance as deleted: Novita confirmed that there is no machine."""
    return become(
        instance,
        Status.DELETED,
        now,
        reason=instance.reason,
        deleted_at=now,
        gone_at=instance.gone_at or now,
        endpoints=(),
        ssh_command=None,
        confirm_at=None,
        asked=None,
    )


def is_new(instance: Instance, now: datetime, limits: Limits) -> bool:
    """Whether Novita may still keep this machine out of its answers (API notes §16.2)."""
    accepted_at = instance.accepted_at
    return accepted_at is not None and now < accepted_at + limits.adoption_window


# What a wish of the owner's wipes: answers to the wish before it, and doubts about it.
_AFRESH: dict[str, Any] = {
    "asked": None,
    "seen_fingerprint": None,
    "confirm_at": None,
    "doubts": 0,
    "failures": 0,
}


def _next_verb(instance: Instance, now: datetime, limits: Limits) -> Step:
    match instance.status:
        case Status.DELETING:
            return _ask(instance, Verb.DELETE, now, limits)
        case Status.STOPPING if instance.phase not in (Phase.GOING_DOWN, Phase.DOWN):
            return _ask(instance, Verb.STOP, now, limits)
        case Status.STARTING if instance.restart_wanted:
            return _ask(instance, Verb.RESTART, now, limits)
        case Status.CREATING | Status.STARTING if instance.phase is Phase.DOWN:
            return _ask(instance, Verb.START, now, limits)
    return Rest(None)


def _ask(instance: Instance, verb: Verb, now: datetime, limits: Limits) -> Step:
    asked = instance.asked
    if asked is None or asked.verb is not verb:
        return Ask(verb)
    patience = min(limits.ask_again_after * 2 ** min(asked.times - 1, 16), limits.ask_again_ceiling)
    return Ask(verb) if now >= asked.at + patience else Rest(asked.at + patience)


def _earliest(step: Step, instance: Instance) -> Step:
    """Let a rest end at the next time that the row itself names."""
    if not isinstance(step, Rest):
        return step
    deadline_at = instance.deadline_at if instance.status in COMING_UP else None
    times = [at for at in (step.until, instance.confirm_at, deadline_at) if at is not None]
    return Rest(min(times, default=None))


def _delete(instance: Instance, now: datetime) -> Instance:
    if instance.desired is Desired.DELETED:
        return instance
    return become(
        instance,
        Status.DELETING,
        now,
        reason=instance.reason,
        desired=Desired.DELETED,
        restart_wanted=False,
        **_AFRESH,
    )


def _is_to_be_deleted_after_failure(instance: Instance) -> bool:
    """A first start-up that failed is deleted if the order says so; data is never at stake."""
    return (
        instance.status is Status.FAILED
        and instance.order.on_failure is OnFailure.DELETE
        and instance.running_at is None
        and instance.desired is Desired.RUNNING
        and (instance.is_watched or instance.buying is not None)
    )


def _is_temporary(error: GpuKeeperError | None) -> bool:
    return isinstance(error, NovitaUnavailable | OutcomeUnknown | BadCredentials)


def _too_late(instance: Instance) -> str:
    seconds = int(instance.order.startup_timeout.total_seconds())
    said = f"; Novita says '{instance.novita_status}'" if instance.novita_status else ""
    return f"Not running {seconds} s after it was started{said}."
