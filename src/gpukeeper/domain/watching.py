"""What a look at Novita does to an instance: one observation, or one absence, folded into its row.

Answers of Novita's may be late, short, or go back once (API notes §3.2, §16.2).  So a look that
contradicts the status without a cause is believed when the next look says the same, the end of a
failure when Novita has said it of this machine alone, and an absence when Novita has confirmed it
for this machine in two looks (in one, if we deleted it).
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from operator import attrgetter

from gpukeeper.domain import connection
from gpukeeper.domain.instance import (
    Desired,
    Instance,
    Observation,
    Phase,
    Reason,
    SpotSignal,
    Status,
    Verb,
)
from gpukeeper.domain.lifecycle import (
    COMING_UP,
    RISING,
    Limits,
    become,
    conclude_deleted,
    fail,
    is_coming_up,
    is_new,
)
from gpukeeper.domain.market import BillingMode

_AT_REST = frozenset({Status.STOPPED, Status.RECLAIMED})
_TAKEN = frozenset({SpotSignal.RECLAIMING, SpotSignal.TERMINATED})

_GPU_IS_ON = frozenset({Phase.STARTING, Phase.UP, Phase.GOING_DOWN})

# Confirmed absences before a machine that nobody here deleted counts as gone.
_MISSES_NEEDED = 2


def observe(
    instance: Instance,
    seen: Observation,
    now: datetime,
    limits: Limits,
    *,
    is_single: bool = False,
) -> Instance:
    """Return the instance after Novita said this of its machine.

    ``is_single`` marks the answer to a question about this machine alone, which may leave out
    what only listings say (spot signals, API notes §3.3).  An observation made before the last
    verb was answered says nothing about what the verb did, and changes nothing.
    """
    if not instance.is_watched:
        return instance
    if instance.asked is not None and seen.at < instance.asked.at:
        return instance
    if seen.phase is Phase.GONE:
        return _gone(instance, now, limits) if is_single else _missed(instance, now, limits)
    if _may_precede_a_start(instance, seen):
        return replace(instance, misses=0, failures=0, confirm_at=None, seen_fingerprint=None)
    if instance.doubts == 0 and _is_surprising(instance, seen, now, limits):
        return replace(
            instance, doubts=1, misses=0, failures=0, confirm_at=None, seen_fingerprint=None
        )
    if instance.status is Status.FAILED and seen.phase is Phase.UP and not is_single:
        # A listing may show once more what was before it failed: Novita is asked about it alone.
        return replace(
            instance, confirm_at=instance.confirm_at or now, misses=0, seen_fingerprint=None
        )
    known = _with_facts(instance, seen, now, is_single=is_single)
    if _can_be_stopped_at_last(instance, seen):
        known = replace(known, asked=None)
    return _BY_PHASE[seen.phase](known, now, limits)


def miss(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance after a complete listing left its machine out.

    Nothing is concluded: Novita is asked about this machine alone (:func:`confirm_absence`).
    """
    return _missed(instance, now, limits) if instance.is_watched else instance


def confirm_absence(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance after Novita said that it does not know this machine."""
    return _gone(instance, now, limits) if instance.is_watched else instance


def reappear(instance: Instance, seen: Observation, now: datetime, limits: Limits) -> Instance:
    """Return the instance whose machine was taken for gone and is shown after all.

    It costs money, so it is watched again; one that was deleted is deleted again.  A listing may
    lag behind its end for a while, which says nothing.
    """
    if instance.gone_at is None or seen.at < instance.gone_at + limits.adoption_window:
        return instance
    back = replace(
        instance, gone_at=None, deleted_at=None, asked=None, misses=0, doubts=0, confirm_at=None
    )
    if instance.desired is Desired.DELETED:
        return become(back, Status.DELETING, now, reason=instance.reason)
    if instance.status is not Status.LOST:
        return observe(back, seen, now, limits)
    # What was lost is taken for whatever it is now, as if it had been on its way there.
    return observe(
        replace(back, status=Status.STOPPING, desired=Desired.RUNNING, reason=None, doubts=1),
        seen,
        now,
        limits,
    )


def confirm_later(instance: Instance, now: datetime, delay: timedelta) -> Instance:
    """Return the instance after Novita could not be asked about this machine.

    While it is open whether the machine comes up, the next listing is taken in even if it says
    the same: it may be all that there is to conclude from.
    """
    is_open = is_coming_up(instance) or instance.status is Status.FAILED
    return replace(
        instance,
        confirm_at=now + delay,
        failures=instance.failures + 1,
        seen_fingerprint=None if is_open else instance.seen_fingerprint,
    )


def fingerprint(seen: Observation) -> str:
    """Return a short text that is equal for observations that say the same."""
    said = repr(_what_is_said(seen))
    return hashlib.blake2b(said.encode(), digest_size=12).hexdigest()


# Built once: a look at a large fleet does this for every machine.
_what_is_said = attrgetter(*(each.name for each in fields(Observation) if each.name != "at"))


def _is_surprising(instance: Instance, seen: Observation, now: datetime, limits: Limits) -> bool:
    """Whether Novita goes back to a status that was left behind, with nothing asked of it."""
    if instance.status is Status.RUNNING:
        is_back_down = seen.phase is Phase.DOWN and _was_just_asked(instance, now, limits)
        return seen.phase in RISING or is_back_down
    is_stopped_elsewhere = (
        instance.status is Status.STOPPING and instance.desired is Desired.RUNNING
    )
    if instance.status in _AT_REST or is_stopped_elsewhere:
        return seen.phase in RISING or seen.phase is Phase.UP
    return False


def _can_be_stopped_at_last(instance: Instance, seen: Observation) -> bool:
    """Whether a machine came up that is to be stopped: what Novita refused before it now takes."""
    was_not_up = instance.phase is None or instance.phase in RISING
    return instance.status is Status.STOPPING and was_not_up and seen.phase is Phase.UP


def _may_precede_a_start(instance: Instance, seen: Observation) -> bool:
    """Whether Novita may show what was before a start that was followed by the wish to stop.

    Such a machine has to be stopped, and is down when Novita has taken the stop, or has refused
    it twice because there is nothing to stop.
    """
    is_to_stop = instance.status is Status.STOPPING and instance.desired is Desired.STOPPED
    if not is_to_stop or not (instance.phase is None or instance.phase in RISING):
        return False
    asked = instance.asked
    is_stopped = (
        asked is not None and asked.verb is Verb.STOP and (asked.is_acknowledged or asked.times > 1)
    )
    return seen.phase in (Phase.GOING_DOWN, Phase.DOWN) and not is_stopped


def _was_just_asked(instance: Instance, now: datetime, limits: Limits) -> bool:
    """Whether Novita may still show what was before the last verb."""
    return instance.asked is not None and now < instance.asked.at + limits.ask_again_after


def _with_facts(
    instance: Instance, seen: Observation, now: datetime, *, is_single: bool
) -> Instance:
    says_nothing_of_spot = is_single and seen.spot_signal is SpotSignal.NONE
    is_coming_up = instance.status in COMING_UP
    return replace(
        instance,
        novita_status=seen.word,
        phase=seen.phase,
        gpu_off_at=_gpu_off_at(instance, seen),
        price_per_hour=seen.price_per_hour or instance.price_per_hour,
        observed_at=seen.at,
        endpoints=seen.endpoints,
        ssh_command=connection.ssh_command(instance, seen, is_single=is_single),
        machine_started_at=connection.last_start(instance, seen),
        spot_signal=instance.spot_signal if says_nothing_of_spot else seen.spot_signal,
        reclaim_at=instance.reclaim_at if says_nothing_of_spot else seen.reclaim_at,
        image_url=seen.image_url or instance.image_url,
        seen_fingerprint=None if is_single else fingerprint(seen),
        reason=_boot_error(seen) if is_coming_up else instance.reason,
        doubts=0,
        misses=0,
        failures=0,
        confirm_at=connection.ask_at(instance, seen, now, is_single=is_single),
    )


def _gpu_off_at(instance: Instance, seen: Observation) -> datetime | None:
    """Return since when the GPUs are off; on the way to its end a machine stays as it was."""
    if seen.phase is Phase.DOWN:
        return instance.gpu_off_at or seen.at
    return None if seen.phase in _GPU_IS_ON else instance.gpu_off_at


def _boot_error(seen: Observation) -> Reason | None:
    return Reason("boot_failed", f"Novita: {seen.error}") if seen.error else None


def _rising(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.CREATING | Status.STARTING if instance.reason is not None:
            return fail(instance, instance.reason.code, instance.reason.message, now)
        case Status.CREATING if instance.phase is Phase.STARTING:
            return become(instance, Status.STARTING, now)
        case Status.STARTING if instance.asked is not None:
            # What was wanted has begun, whatever Novita answered to it.
            return replace(instance, wanted=None)
        case Status.RUNNING | Status.STOPPED | Status.RECLAIMED:
            return _started_elsewhere(instance, now)
        case Status.STOPPING if instance.desired is Desired.RUNNING:
            return _started_elsewhere(instance, now)
    return instance


def _started_elsewhere(instance: Instance, now: datetime) -> Instance:
    return become(
        instance,
        Status.STARTING,
        now,
        desired=Desired.RUNNING,
        deadline_at=now + instance.order.startup_timeout,
    )


def _up(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.STARTING if instance.wanted is Verb.RESTART:
            return instance
        case Status.STOPPING if instance.desired is Desired.STOPPED:
            return instance
        case Status.RUNNING | Status.DELETING:
            return instance
        case Status.FAILED if instance.desired is Desired.STOPPED:
            # It was to be stopped and could not be, because it was not up yet.
            return become(instance, Status.STOPPING, now)
    # Coming up late, or started elsewhere, is running all the same.  What listings leave out
    # (the SSH command) is asked for once, when those who wait for the news have it.
    confirm_at = None if instance.ssh_command else now + connection.SSH_ASKED_AFTER
    return become(instance, Status.RUNNING, now, desired=Desired.RUNNING, confirm_at=confirm_at)


def _going_down(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Someone else stops the machine, or Novita does; the owner still wants it running."""
    if instance.status is Status.RUNNING:
        reason = Reason("stopped_elsewhere", f"Novita says '{instance.novita_status}'.")
        return become(instance, Status.STOPPING, now, reason=reason)
    return instance


def _down(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.CREATING | Status.STARTING:
            return _down_while_starting(instance, now, limits)
        case Status.STOPPING if instance.desired is Desired.STOPPED:
            return become(instance, Status.STOPPED, now)
        case Status.STOPPING if not _is_taken_back(instance):
            # It was seen going down first, which a machine that is taken back does not.
            return _stopped_elsewhere(instance, now)
        case Status.RUNNING | Status.STOPPING:
            return _down_unasked(instance, now)
    return instance


def _down_while_starting(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """A machine found exited is started (contract 2.1), unless it failed or was taken back.

    Until a start has been accepted, and just after it, Novita may show what was before it: then
    nothing is concluded, and the next look is taken in even if it says the same.
    """
    if instance.wanted is not None or _was_just_asked(instance, now, limits):
        return replace(instance, reason=None, seen_fingerprint=None)
    if instance.spot_signal in _TAKEN:
        return become(instance, Status.RECLAIMED, now, reason=_why_taken(instance))
    if instance.reason is not None:
        return fail(instance, instance.reason.code, instance.reason.message, now)
    return instance


def _down_unasked(instance: Instance, now: datetime) -> Instance:
    if instance.order.billing_mode is BillingMode.SPOT:
        return become(instance, Status.RECLAIMED, now, reason=_why_taken(instance))
    return _stopped_elsewhere(instance, now)


def _stopped_elsewhere(instance: Instance, now: datetime) -> Instance:
    reason = Reason("stopped_elsewhere", "The machine stopped; nobody here asked for it.")
    return become(instance, Status.STOPPED, now, reason=reason, desired=Desired.STOPPED)


def _unchanged(instance: Instance, now: datetime, limits: Limits) -> Instance:
    return instance


_BY_PHASE: dict[Phase, Callable[[Instance, datetime, Limits], Instance]] = {
    Phase.PREPARING: _rising,
    Phase.STARTING: _rising,
    Phase.UP: _up,
    Phase.GOING_DOWN: _going_down,
    Phase.GOING: _going_down,
    Phase.DOWN: _down,
    Phase.UNKNOWN: _unchanged,
}


def _missed(instance: Instance, now: datetime, limits: Limits) -> Instance:
    if is_new(instance, now, limits) and instance.status is not Status.DELETING:
        return instance
    return replace(instance, confirm_at=instance.confirm_at or now)


def _gone(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Count a confirmed absence, and conclude from it when there are enough."""
    asked = instance.asked
    was_deleted_by_us = asked is not None and asked.verb is Verb.DELETE and asked.is_acknowledged
    counted = replace(
        instance, misses=instance.misses + 1, confirm_at=None, failures=0, seen_fingerprint=None
    )
    if is_new(instance, now, limits) and not was_deleted_by_us:
        return replace(counted, misses=0)
    if counted.misses < _MISSES_NEEDED and not was_deleted_by_us:
        return counted
    if instance.status is Status.DELETING:
        return conclude_deleted(counted, now)
    ended = replace(counted, gone_at=now, endpoints=(), ssh_command=None)
    if instance.status in (Status.FAILED, Status.RECLAIMED):
        return ended
    if _is_taken_back(instance) and instance.desired is Desired.RUNNING:
        return become(ended, Status.RECLAIMED, now, reason=_why_taken(instance))
    reason = Reason("gone_at_novita", "Novita no longer knows the machine; nobody here deleted it.")
    return become(ended, Status.LOST, now, reason=reason)


def _is_taken_back(instance: Instance) -> bool:
    return instance.spot_signal is not SpotSignal.NONE or instance.reclaim_at is not None


def _why_taken(instance: Instance) -> Reason:
    if _is_taken_back(instance):
        return Reason("reclaimed", "Novita took the spot machine back.")
    return Reason(
        "exited_without_notice",
        "The spot machine exited and nobody here stopped it: taken back without notice, "
        "stopped in the console, or its process ended.",
    )
