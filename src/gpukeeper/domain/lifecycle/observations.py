"""Observations and absences of a machine, folded into its instance.

Novita's listings may be late, short, or go back once (API notes §3.2, §16.2).  An observation that
contradicts the status without a cause is believed when the next one says the same.  The end of a
failure is believed when Novita has said it of this machine alone.  An absence is believed when
Novita has confirmed it for this machine twice (once, if it took our deletion) and a complete
listing does not show the machine.
"""

import hashlib
from dataclasses import fields, replace
from datetime import datetime, timedelta
from operator import attrgetter

from gpukeeper.domain.ids import is_adopted
from gpukeeper.domain.instances import Command, DesiredState, Instance, Reason, Status, Watch
from gpukeeper.domain.lifecycle import connection_details
from gpukeeper.domain.lifecycle.command_results import is_refusal_proven, revert_command
from gpukeeper.domain.lifecycle.phases import (
    BOOT_FAILED,
    BY_PHASE,
    is_command_recent,
    reclaim_reason,
)
from gpukeeper.domain.lifecycle.transitions import (
    COMING_UP,
    RISING,
    Limits,
    change_status,
    fail,
    is_coming_up,
    is_new,
    mark_deleted,
)
from gpukeeper.domain.machines import Machine, Observation, Phase, SpotSignal

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
    command was answered says nothing about its effect, and changes nothing.
    """
    if not instance.is_watched:
        return instance
    if instance.last_command is not None and seen.at < instance.last_command.at:
        return instance
    if seen.phase is Phase.GONE:
        removed = replace(
            instance,
            machine=replace(instance.machine, novita_status=seen.word),
            watch=replace(instance.watch, observed_at=seen.at),
        )
        return _gone(removed, now, limits) if is_single else _removed(removed, now)
    shown = instance.watch.show()
    if _may_precede_a_start(instance, seen):
        return replace(instance, watch=replace(shown, failures=0, confirm_at=None))
    if shown.doubts == 0 and _is_surprising(instance, seen, now, limits):
        return replace(instance, watch=replace(shown, doubts=1, failures=0, confirm_at=None))
    if instance.status is Status.FAILED and seen.phase is Phase.UP and not is_single:
        # A listing may show once more what was before it failed: Novita is asked about it alone.
        return replace(instance, watch=shown.confirm(now))
    known = _with_facts(instance, seen, now, is_single=is_single)
    if is_single and is_refusal_proven(known):
        return revert_command(known, now)
    if _can_be_stopped_at_last(instance, seen):
        known = replace(known, last_command=None)
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
    return replace(instance, watch=instance.watch.confirm(now))


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
    gone_at = instance.machine.gone_at
    if gone_at is None or seen.at < gone_at + limits.adoption_window:
        return instance
    if _altered_name(instance, seen) not in (None, instance.machine.name_at_novita):
        # Another machine under the same id: it is not this row's to watch, or to delete.
        return instance
    watch = replace(instance.watch.show(), doubts=0, confirm_at=None, has_reappeared=True)
    machine = replace(instance.machine, gone_at=None)
    back = replace(instance, deleted_at=None, last_command=None, machine=machine, watch=watch)
    if instance.desired_state is DesiredState.DELETED:
        return change_status(back, Status.DELETING, now, reason=instance.reason)
    if instance.status is not Status.LOST:
        return observe(back, seen, now, limits)
    # A lost machine takes the status that it is shown in, as if it had been on its way there.
    moving = replace(
        back,
        status=Status.STOPPING,
        desired_state=DesiredState.RUNNING,
        reason=None,
        watch=replace(watch, doubts=1),
    )
    return observe(moving, seen, now, limits)


def postpone_confirmation(instance: Instance, now: datetime, delay: timedelta) -> Instance:
    """Return the instance after Novita could not be asked about this machine.

    While it is open whether the machine comes up, the next listing is taken in even if it says
    the same: it may be all that there is to conclude from.
    """
    is_open = is_coming_up(instance) or instance.status is Status.FAILED
    watch = instance.watch.look_again() if is_open else instance.watch
    watch = replace(watch, confirm_at=now + delay, failures=watch.failures + 1)
    return replace(instance, watch=watch)


def fingerprint(seen: Observation) -> str:
    """Return a short text that is equal for observations that say the same."""
    said = repr(_what_is_said(seen))
    return hashlib.blake2b(said.encode(), digest_size=12).hexdigest()


# Built once: the sweep of a large fleet does this for every machine.
_what_is_said = attrgetter(*(each.name for each in fields(Observation) if each.name != "at"))


def _is_surprising(instance: Instance, seen: Observation, now: datetime, limits: Limits) -> bool:
    """Whether Novita goes back to a status that was left behind, with nothing asked of it."""
    if instance.status is Status.RUNNING:
        is_back_down = seen.phase is Phase.DOWN and is_command_recent(instance, now, limits)
        return seen.phase in RISING or is_back_down
    is_stopped_elsewhere = (
        instance.status is Status.STOPPING and instance.desired_state is DesiredState.RUNNING
    )
    if instance.status in _AT_REST or is_stopped_elsewhere:
        return seen.phase in RISING or seen.phase is Phase.UP
    return False


def _can_be_stopped_at_last(instance: Instance, seen: Observation) -> bool:
    """Whether a machine came up that is to be stopped: what Novita refused before it now takes."""
    is_stopping = instance.status is Status.STOPPING
    return is_stopping and _was_not_up(instance) and seen.phase is Phase.UP


def _was_not_up(instance: Instance) -> bool:
    return instance.machine.phase is None or instance.machine.phase in RISING


def _may_precede_a_start(instance: Instance, seen: Observation) -> bool:
    """Whether Novita may show what was before a start that was followed by a stop.

    Such a machine has to be stopped, and is down when Novita has taken the stop, or has refused
    it twice because there is nothing to stop.
    """
    if not instance.is_to_be_stopped or not _was_not_up(instance):
        return False
    asked = instance.last_command
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
    machine, is_coming_up = instance.machine, instance.status in COMING_UP
    spot = machine if says_nothing_of_spot else seen
    is_explained = is_coming_up or _fails_to_come_up(instance, seen)
    return replace(
        instance,
        reason=_boot_error(seen) if is_explained else instance.reason,
        machine=replace(
            machine,
            novita_status=seen.word,
            phase=seen.phase,
            gpu_off_at=_gpu_off_at(machine, seen),
            price_per_hour=seen.price_per_hour or machine.price_per_hour,
            endpoints=seen.endpoints,
            ssh_command=connection_details.known_ssh_command(instance, seen, is_single=is_single),
            last_start_at=connection_details.last_start(instance, seen),
            spot_signal=spot.spot_signal,
            reclaim_at=spot.reclaim_at,
            image_url=seen.image_url or machine.image_url,
            name_at_novita=_altered_name(instance, seen),
        ),
        watch=Watch(
            observed_at=seen.at,
            seen_fingerprint=None if is_single else fingerprint(seen),
            confirm_at=connection_details.next_ssh_query_at(
                instance, seen, now, is_single=is_single
            ),
            has_reappeared=instance.watch.has_reappeared,
        ),
    )


def _gpu_off_at(machine: Machine, seen: Observation) -> datetime | None:
    """Return since when the GPUs are off; on the way to its end a machine stays as it was."""
    if seen.phase is Phase.DOWN:
        return machine.gpu_off_at or seen.at
    return None if seen.phase in _GPU_IS_ON else machine.gpu_off_at


def _altered_name(instance: Instance, seen: Observation) -> str | None:
    """Return the machine's name if it is not the one that was sent; an adopted one's never was."""
    is_known = seen.name in ("", instance.novita_name) or is_adopted(instance.novita_name)
    return instance.machine.name_at_novita if not seen.name else None if is_known else seen.name


def _fails_to_come_up(instance: Instance, seen: Observation) -> bool:
    """Whether a machine that is to be stopped once it is up says that it never will be."""
    return instance.is_to_be_stopped and seen.phase in RISING and bool(seen.error)


def _boot_error(seen: Observation) -> Reason | None:
    return Reason(BOOT_FAILED, f"Novita: {seen.error}") if seen.error else None


def _unlisted(instance: Instance, now: datetime) -> Instance:
    """Have Novita asked about this machine; the next listing that shows it is taken in."""
    # Nobody waits for the second answer once a second listing has come; only for Novita itself.
    watch = instance.watch
    is_put_off = watch.confirm_at is not None and (watch.failures or not watch.misses)
    return replace(
        instance,
        watch=replace(
            watch.look_again(),
            unlisted_at=watch.unlisted_at or now,
            confirm_at=watch.confirm_at if is_put_off else now,
        ),
    )


def _removed(instance: Instance, now: datetime) -> Instance:
    """Count that a listing shows the machine as removed: no lag explains that."""
    unlisted = _unlisted(instance, now)
    return replace(unlisted, watch=replace(unlisted.watch, misses=max(unlisted.watch.misses, 1)))


def _gone(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Count a confirmed absence, and conclude from it when there are enough."""
    asked = instance.last_command
    was_deleted_by_us = asked is not None and asked.verb is Command.DELETE and asked.is_acknowledged
    misses = instance.watch.misses + 1
    watch = replace(instance.watch.look_again(), misses=misses, confirm_at=None, failures=0)
    if is_new(instance, now, limits) and not was_deleted_by_us:
        return replace(instance, watch=replace(watch, misses=0))
    # What was taken for gone once and was not wants the same proof as what nobody deleted.
    is_taken_on_trust = was_deleted_by_us and not watch.has_reappeared
    if not is_taken_on_trust and misses < _MISSES_NEEDED:
        return replace(instance, watch=watch.confirm(now + _CONFIRM_AGAIN_AFTER))
    counted = replace(instance, watch=watch)
    if not is_taken_on_trust and watch.unlisted_at is None:
        # Who says so may not be Novita: the next complete listing has to agree.
        return counted
    if instance.status is Status.DELETING:
        return mark_deleted(counted, now)
    ended = replace(counted, machine=counted.machine.end(now))
    if instance.status in (Status.FAILED, Status.RECLAIMED):
        return ended
    if instance.machine.is_reclaim_signalled and instance.desired_state is DesiredState.RUNNING:
        return change_status(ended, Status.RECLAIMED, now, reason=reclaim_reason(instance))
    if instance.status in COMING_UP:
        message = "Novita no longer knows the machine: it is gone before it came up."
        return fail(ended, GONE_AT_NOVITA, message, now)
    reason = Reason(GONE_AT_NOVITA, "Novita no longer knows the machine; nobody here deleted it.")
    return change_status(ended, Status.LOST, now, reason=reason)
