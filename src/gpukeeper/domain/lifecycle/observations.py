"""What a look at Novita does to an instance: one observation, or one absence, folded into its row.

Answers of Novita's may be late, short, or go back once (API notes §3.2, §16.2).  So a look that
contradicts the status without a cause is believed when the next look says the same, the end of a
failure when Novita has said it of this machine alone, and an absence when Novita has confirmed it
for this machine twice and a complete listing does not show it (once, if it took our deletion).
"""

import hashlib
from dataclasses import fields, replace
from datetime import datetime, timedelta
from operator import attrgetter

from gpukeeper.domain.ids import is_adopted
from gpukeeper.domain.instances import (
    Command,
    DesiredState,
    Instance,
    Observation,
    Phase,
    Reason,
    SpotSignal,
    Status,
)
from gpukeeper.domain.lifecycle import connection_details
from gpukeeper.domain.lifecycle.command_refusals import is_refusal_proven, revert_command
from gpukeeper.domain.lifecycle.decide import (
    COMING_UP,
    RISING,
    Limits,
    change_status,
    fail,
    is_coming_up,
    is_new,
    mark_deleted,
)
from gpukeeper.domain.lifecycle.phases import (
    BOOT_FAILED,
    BY_PHASE,
    is_command_recent,
    is_reclaim_signalled,
    reclaim_reason,
)

_AT_REST = frozenset({Status.STOPPED, Status.RECLAIMED})

_GPU_IS_ON = frozenset({Phase.STARTING, Phase.UP, Phase.GOING_DOWN})

# Why an instance has no machine any more, though nobody here deleted it.
GONE_AT_NOVITA = "gone_at_novita"

# Confirmed absences before a machine whose deletion Novita has not accepted counts as gone, and how
# long after the first of them it is asked again: one answer alone may be a mistake.
_MISSES_NEEDED = 2
_CONFIRM_AGAIN_AFTER = timedelta(seconds=3)


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
        shown = replace(instance, observed_at=seen.at, novita_status=seen.word)
        return _gone(shown, now, limits) if is_single else _removed(shown, now)
    if _may_precede_a_start(instance, seen):
        return replace(_present(instance), failures=0, confirm_at=None)
    if instance.doubts == 0 and _is_surprising(instance, seen, now, limits):
        return replace(_present(instance), doubts=1, failures=0, confirm_at=None)
    if instance.status is Status.FAILED and seen.phase is Phase.UP and not is_single:
        # A listing may show once more what was before it failed: Novita is asked about it alone.
        return replace(_present(instance), confirm_at=instance.confirm_at or now)
    known = _with_facts(instance, seen, now, is_single=is_single)
    if is_single and is_refusal_proven(known):
        return revert_command(known, now)
    if _can_be_stopped_at_last(instance, seen):
        known = replace(known, asked=None)
    return BY_PHASE[seen.phase](known, now, limits)


def record_missing(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance after a complete listing left its machine out.

    Nothing is concluded: Novita is asked about this machine alone (:func:`confirm_missing`).
    """
    if not instance.is_watched:
        return instance
    if is_new(instance, now, limits) and instance.status is not Status.DELETING:
        return instance
    return _unlisted(instance, now)


def suspect_missing(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance after Novita did not know its machine when somebody here asked.

    It is asked again; an absence also takes a listing without the machine (:func:`record_missing`).
    """
    if not instance.is_watched or is_new(instance, now, limits):
        return instance
    return replace(instance, confirm_at=instance.confirm_at or now)


def confirm_missing(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance after Novita said that it does not know this machine."""
    return _gone(instance, now, limits) if instance.is_watched else instance


def record_reappearance(
    instance: Instance, seen: Observation, now: datetime, limits: Limits
) -> Instance:
    """Return the instance whose machine was taken for gone and is shown after all.

    It costs money, so it is watched again; one that was deleted is deleted again.  A listing may
    lag behind its end for a while, which says nothing.
    """
    if instance.gone_at is None or seen.at < instance.gone_at + limits.adoption_window:
        return instance
    if _altered_name(instance, seen) not in (None, instance.name_at_novita):
        # Another machine under the same id: it is not this row's to watch, or to delete.
        return instance
    back = replace(
        _present(instance),
        gone_at=None,
        deleted_at=None,
        asked=None,
        doubts=0,
        confirm_at=None,
        has_reappeared=True,
    )
    if instance.desired is DesiredState.DELETED:
        return change_status(back, Status.DELETING, now, reason=instance.reason)
    if instance.status is not Status.LOST:
        return observe(back, seen, now, limits)
    # What was lost is taken for whatever it is now, as if it had been on its way there.
    return observe(
        replace(back, status=Status.STOPPING, desired=DesiredState.RUNNING, reason=None, doubts=1),
        seen,
        now,
        limits,
    )


def postpone_confirmation(instance: Instance, now: datetime, delay: timedelta) -> Instance:
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
        is_back_down = seen.phase is Phase.DOWN and is_command_recent(instance, now, limits)
        return seen.phase in RISING or is_back_down
    is_stopped_elsewhere = (
        instance.status is Status.STOPPING and instance.desired is DesiredState.RUNNING
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
    is_to_stop = instance.status is Status.STOPPING and instance.desired is DesiredState.STOPPED
    if not is_to_stop or not (instance.phase is None or instance.phase in RISING):
        return False
    asked = instance.asked
    is_stopped = (
        asked is not None
        and asked.verb is Command.STOP
        and (asked.is_acknowledged or asked.times > 1)
    )
    return seen.phase in (Phase.GOING_DOWN, Phase.DOWN) and not is_stopped


def _with_facts(
    instance: Instance, seen: Observation, now: datetime, *, is_single: bool
) -> Instance:
    says_nothing_of_spot = is_single and seen.spot_signal is SpotSignal.NONE
    is_coming_up, reason = instance.status in COMING_UP, instance.reason
    return replace(
        instance,
        novita_status=seen.word,
        phase=seen.phase,
        gpu_off_at=_gpu_off_at(instance, seen),
        price_per_hour=seen.price_per_hour or instance.price_per_hour,
        observed_at=seen.at,
        endpoints=seen.endpoints,
        ssh_command=connection_details.known_ssh_command(instance, seen, is_single=is_single),
        machine_started_at=connection_details.last_start(instance, seen),
        spot_signal=instance.spot_signal if says_nothing_of_spot else seen.spot_signal,
        reclaim_at=instance.reclaim_at if says_nothing_of_spot else seen.reclaim_at,
        image_url=seen.image_url or instance.image_url,
        seen_fingerprint=None if is_single else fingerprint(seen),
        reason=_boot_error(seen) if is_coming_up or _fails_to_come_up(instance, seen) else reason,
        name_at_novita=_altered_name(instance, seen),
        unlisted_at=None,
        doubts=0,
        misses=0,
        failures=0,
        confirm_at=connection_details.next_ssh_query_at(instance, seen, now, is_single=is_single),
    )


def _gpu_off_at(instance: Instance, seen: Observation) -> datetime | None:
    """Return since when the GPUs are off; on the way to its end a machine stays as it was."""
    if seen.phase is Phase.DOWN:
        return instance.gpu_off_at or seen.at
    return None if seen.phase in _GPU_IS_ON else instance.gpu_off_at


def _present(instance: Instance) -> Instance:
    """Return the instance whose machine is there; the next look is taken in, whatever it says."""
    return replace(instance, misses=0, unlisted_at=None, seen_fingerprint=None)


def _altered_name(instance: Instance, seen: Observation) -> str | None:
    """Return the machine's name if it is not the one that was sent; an adopted one's never was."""
    is_known = seen.name in ("", instance.novita_name) or is_adopted(instance.novita_name)
    return instance.name_at_novita if not seen.name else None if is_known else seen.name


def _fails_to_come_up(instance: Instance, seen: Observation) -> bool:
    """Whether a machine that is to be stopped once it is up says that it never will be."""
    is_to_stop = instance.status is Status.STOPPING and instance.desired is DesiredState.STOPPED
    return is_to_stop and seen.phase in RISING and bool(seen.error)


def _boot_error(seen: Observation) -> Reason | None:
    return Reason(BOOT_FAILED, f"Novita: {seen.error}") if seen.error else None


def _unlisted(instance: Instance, now: datetime) -> Instance:
    """Have Novita asked about this machine; the next listing that shows it is taken in."""
    # Nobody waits for the second answer once a second listing has come; only for Novita itself.
    is_put_off = instance.confirm_at is not None and (instance.failures or not instance.misses)
    return replace(
        instance,
        unlisted_at=instance.unlisted_at or now,
        confirm_at=instance.confirm_at if is_put_off else now,
        seen_fingerprint=None,
    )


def _removed(instance: Instance, now: datetime) -> Instance:
    """Count that a listing shows the machine as removed: no lag explains that."""
    return replace(_unlisted(instance, now), misses=max(instance.misses, 1))


def _gone(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Count a confirmed absence, and conclude from it when there are enough."""
    asked = instance.asked
    was_deleted_by_us = asked is not None and asked.verb is Command.DELETE and asked.is_acknowledged
    counted = replace(
        instance, misses=instance.misses + 1, confirm_at=None, failures=0, seen_fingerprint=None
    )
    if is_new(instance, now, limits) and not was_deleted_by_us:
        return replace(counted, misses=0)
    # What was taken for gone once and was not wants the same proof as what nobody deleted.
    is_taken_on_trust = was_deleted_by_us and not instance.has_reappeared
    if not is_taken_on_trust and counted.misses < _MISSES_NEEDED:
        return replace(counted, confirm_at=now + _CONFIRM_AGAIN_AFTER)
    if not is_taken_on_trust and instance.unlisted_at is None:
        # Who says so may not be Novita: the next complete listing has to agree.
        return counted
    if instance.status is Status.DELETING:
        return mark_deleted(counted, now)
    ended = replace(counted, gone_at=now, novita_status=None, endpoints=(), ssh_command=None)
    if instance.status in (Status.FAILED, Status.RECLAIMED):
        return ended
    if is_reclaim_signalled(instance) and instance.desired is DesiredState.RUNNING:
        return change_status(ended, Status.RECLAIMED, now, reason=reclaim_reason(instance))
    if instance.status in COMING_UP:
        message = "Novita no longer knows the machine: it is gone before it came up."
        return fail(ended, GONE_AT_NOVITA, message, now)
    reason = Reason(GONE_AT_NOVITA, "Novita no longer knows the machine; nobody here deleted it.")
    return change_status(ended, Status.LOST, now, reason=reason)
