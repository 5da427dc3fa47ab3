"""Which wishes of its owner's an instance's status allows, and what to say to the others."""

from collections.abc import Mapping, Set

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command, DesiredState, Instance, Status
from gpukeeper.domain.machines import Phase

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


def is_allowed(instance: Instance, verb: Command) -> bool:
    """Whether the owner's wish would be taken and change something."""
    if verb is Command.DELETE:
        return instance.desired_state is not DesiredState.DELETED
    return instance.is_watched and _obstacle(instance, verb) is None


def check_allowed(instance: Instance, verb: Command) -> None:
    """Raise WrongStatus, which says what works instead, unless the verb can work now."""
    where = f"'{instance.order.name}' is {instance.status.value}"
    if instance.is_watched:
        obstacle = _obstacle(instance, verb)
        if obstacle is None:
            return
        raise WrongStatus(f"{where}{obstacle}. {_what_works(instance)}")
    if instance.purchase.intent is not None:
        raise WrongStatus(
            f"{where} and has no machine to {verb.value} that is known yet: Novita has not "
            f"answered whether it sold one. {_what_works(instance)}"
        )
    raise WrongStatus(f"{where} and has no machine to {verb.value}.")


def _obstacle(instance: Instance, verb: Command) -> str | None:
    allowed_in = _ALLOWED_IN[verb]
    if instance.status not in allowed_in:
        *others, last = sorted(status.value for status in allowed_in)
        allowed = f"{', '.join(others)} or {last}" if others else last
        return f"; {verb.value} needs a machine that is {allowed}"
    is_failed = instance.status is Status.FAILED
    if is_failed and instance.machine.phase in _NEVER_FROM.get(verb, frozenset()):
        word = instance.machine.novita_status
        said = f"Novita says '{word}'" if word else "it is not"
        return f"; {verb.value} needs a machine {_NEEDED[verb]}, and {said}"
    return None


def _what_works(instance: Instance) -> str:
    works = [verb.value for verb in Command if is_allowed(instance, verb)]
    return f"What can be asked of it now: {', '.join(works)}." if works else "It is being deleted."
