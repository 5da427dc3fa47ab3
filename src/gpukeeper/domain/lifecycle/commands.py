"""What the owner may ask of an instance, and what the row says from then on."""

from collections.abc import Mapping, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command, DesiredState, Instance, PriorState, Status
from gpukeeper.domain.lifecycle.transitions import change_status, drop_refusal
from gpukeeper.domain.machines import Machine, Phase, SpotSignal

_ALLOWED_IN: Mapping[Command, Set[Status]] = {
    Command.START: frozenset({Status.STOPPED, Status.RECLAIMED, Status.FAILED}),
    Command.STOP: frozenset({Status.CREATING, Status.STARTING, Status.RUNNING, Status.FAILED}),
    Command.RESTART: frozenset({Status.RUNNING}),
}
# Novita starts what has exited, and stops what runs (API notes §3.4): a machine that failed on its
# way up is neither, however often it is asked.
_NEVER_FROM: Mapping[Command, Set[Phase]] = {
    Command.START: frozenset({Phase.PREPARING, Phase.STARTING, Phase.GOING_DOWN, Phase.GOING}),
    Command.STOP: frozenset(
        {Phase.PREPARING, Phase.STARTING, Phase.GOING_DOWN, Phase.DOWN, Phase.GOING}
    ),
}
_NEEDED = {Command.START: "that has exited", Command.STOP: "that runs"}


def is_allowed(instance: Instance, command: Command) -> bool:
    """Whether the command would be taken and change something."""
    if command is Command.DELETE:
        return instance.desired_state is not DesiredState.DELETED
    return instance.is_watched and _obstacle(instance, command) is None


def check_allowed(instance: Instance, command: Command) -> None:
    """Raise WrongStatus, which says what works instead, unless the command can work now."""
    where = f"'{instance.order.name}' is {instance.status.value}"
    if instance.is_watched:
        obstacle = _obstacle(instance, command)
        if obstacle is None:
            return
        raise WrongStatus(f"{where}{obstacle}. {_what_works(instance)}")
    if instance.purchase.intent is not None:
        raise WrongStatus(
            f"{where} and has no machine to {command.value} that is known yet: Novita has not "
            f"answered whether it sold one. {_what_works(instance)}"
        )
    raise WrongStatus(f"{where} and has no machine to {command.value}.")


def request_command(instance: Instance, command: Command, now: datetime) -> Instance:
    """Return the instance with the owner's command stored; the engine carries it out.

    Raises WrongStatus when the status does not allow the command.
    """
    if command is Command.DELETE:
        return request_deletion(instance, now)
    check_allowed(instance, command)
    if command is Command.STOP:
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
    if command is Command.START:
        # What was said of the spot machine before it was down does not hold for its next life.
        machine = replace(machine, spot_signal=SpotSignal.NONE, reclaim_at=None)
    return change_status(
        instance,
        Status.STARTING,
        now,
        desired_state=DesiredState.RUNNING,
        pending_command=command,
        deadline_at=now + instance.order.startup_timeout,
        machine=machine,
        **_afresh(instance),
    )


def request_deletion(instance: Instance, now: datetime) -> Instance:
    """Return the instance to be deleted; deleting what is being deleted changes nothing."""
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


def _obstacle(instance: Instance, command: Command) -> str | None:
    allowed_in = _ALLOWED_IN[command]
    if instance.status not in allowed_in:
        *others, last = sorted(status.value for status in allowed_in)
        allowed = f"{', '.join(others)} or {last}" if others else last
        return f"; {command.value} needs a machine that is {allowed}"
    is_failed = instance.status is Status.FAILED
    if is_failed and instance.machine.phase in _NEVER_FROM.get(command, frozenset()):
        word = instance.machine.novita_status
        said = f"Novita says '{word}'" if word else "it is not"
        return f"; {command.value} needs a machine {_NEEDED[command]}, and {said}"
    return None


def _what_works(instance: Instance) -> str:
    works = [command.value for command in Command if is_allowed(instance, command)]
    return f"What can be asked of it now: {', '.join(works)}." if works else "It is being deleted."


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
