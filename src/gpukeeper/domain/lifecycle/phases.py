"""What each phase of a machine, once it is believed, means for an instance in each status."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.instances import Command, DesiredState, Instance, Reason, Status
from gpukeeper.domain.lifecycle.connection_details import SSH_QUERY_AFTER
from gpukeeper.domain.lifecycle.transitions import Limits, change_status, fail
from gpukeeper.domain.machines import Phase, SpotSignal
from gpukeeper.domain.products import BillingMode

_TAKEN = frozenset({SpotSignal.RECLAIMING, SpotSignal.TERMINATED})

# Why a machine failed that Novita says it could not start.
BOOT_FAILED = "boot_failed"


def is_command_recent(instance: Instance, now: datetime, limits: Limits) -> bool:
    """Whether Novita may still show how it was before the last command."""
    last = instance.last_command
    return last is not None and now < last.at + limits.ask_again_after


def reclaim_reason(instance: Instance) -> Reason:
    if instance.machine.is_reclaim_signalled:
        return Reason("reclaimed", "Novita took the spot machine back.")
    return Reason(
        "exited_without_notice",
        "The spot machine exited and nobody here stopped it: taken back without notice, "
        "stopped in the console, or its process ended.",
    )


def _rising(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.CREATING | Status.STARTING if instance.reason is not None:
            return fail(instance, instance.reason.code, instance.reason.message, now)
        case Status.STOPPING if instance.reason is not None and instance.reason.code == BOOT_FAILED:
            return fail(instance, instance.reason.code, instance.reason.message, now)
        case Status.CREATING if instance.machine.phase is Phase.STARTING:
            return change_status(instance, Status.STARTING, now)
        case Status.STARTING if instance.last_command is not None:
            # The command has begun to take effect, even if Novita refused it.
            return replace(instance, pending_command=None)
        case Status.RUNNING | Status.STOPPED | Status.RECLAIMED:
            return _started_elsewhere(instance, now)
        case Status.STOPPING if instance.desired_state is DesiredState.RUNNING:
            return _started_elsewhere(instance, now)
    return instance


def _started_elsewhere(instance: Instance, now: datetime) -> Instance:
    return change_status(
        instance,
        Status.STARTING,
        now,
        desired_state=DesiredState.RUNNING,
        deadline_at=now + instance.order.startup_timeout,
    )


def _up(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.STARTING if instance.pending_command is Command.RESTART:
            return instance
        case Status.STOPPING if instance.is_to_be_stopped:
            return instance
        case Status.RUNNING | Status.DELETING:
            return instance
        case Status.FAILED if instance.desired_state is DesiredState.STOPPED:
            # It was to be stopped and could not be, because it was not up yet.
            return change_status(instance, Status.STOPPING, now)
    # Coming up late, or started elsewhere, is running all the same.  What listings leave out
    # (the SSH command) is asked for once, after the news is out.
    confirm_at = None if instance.machine.ssh_command else now + SSH_QUERY_AFTER
    watch = replace(instance.watch, confirm_at=confirm_at)
    return change_status(
        instance, Status.RUNNING, now, desired_state=DesiredState.RUNNING, watch=watch
    )


def _going_down(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Someone else stops the machine, or Novita does; the owner still wants it running."""
    if instance.status is Status.RUNNING:
        reason = Reason("stopped_elsewhere", f"Novita says '{instance.machine.novita_status}'.")
        return change_status(instance, Status.STOPPING, now, reason=reason)
    return instance


def _down(instance: Instance, now: datetime, limits: Limits) -> Instance:
    match instance.status:
        case Status.CREATING | Status.STARTING:
            return _down_while_starting(instance, now, limits)
        case Status.STOPPING if instance.is_to_be_stopped:
            return change_status(instance, Status.STOPPED, now)
        case Status.STOPPING if not instance.machine.is_reclaim_signalled:
            # It was seen going down first, which a machine that is taken back does not.
            return _stopped_elsewhere(instance, now)
        case Status.RUNNING | Status.STOPPING:
            return _down_unasked(instance, now)
    return instance


def _down_while_starting(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """A machine found exited is started (contract 2.1), unless it failed or was taken back.

    Until a start has been accepted, and just after it, Novita may show what was before it: then
    nothing is concluded, and the next observation is taken in even if it says the same.
    """
    if instance.pending_command is not None or is_command_recent(instance, now, limits):
        return replace(instance, reason=None, watch=instance.watch.look_again())
    if instance.machine.spot_signal in _TAKEN:
        return change_status(instance, Status.RECLAIMED, now, reason=reclaim_reason(instance))
    if instance.reason is not None:
        return fail(instance, instance.reason.code, instance.reason.message, now)
    return instance


def _down_unasked(instance: Instance, now: datetime) -> Instance:
    if instance.order.billing_mode is BillingMode.SPOT:
        return change_status(instance, Status.RECLAIMED, now, reason=reclaim_reason(instance))
    return _stopped_elsewhere(instance, now)


def _stopped_elsewhere(instance: Instance, now: datetime) -> Instance:
    reason = Reason("stopped_elsewhere", "The machine stopped; nobody here asked for it.")
    return change_status(
        instance, Status.STOPPED, now, reason=reason, desired_state=DesiredState.STOPPED
    )


def _unchanged(instance: Instance, now: datetime, limits: Limits) -> Instance:
    return instance


BY_PHASE: dict[Phase, Callable[[Instance, datetime, Limits], Instance]] = {
    Phase.PREPARING: _rising,
    Phase.STARTING: _rising,
    Phase.UP: _up,
    Phase.GOING_DOWN: _going_down,
    Phase.GOING: _going_down,
    Phase.DOWN: _down,
    Phase.UNKNOWN: _unchanged,
}
