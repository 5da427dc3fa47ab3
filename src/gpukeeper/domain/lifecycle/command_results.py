"""What comes of asking Novita to start, stop, restart or delete a machine.

The answer is folded into the row, so that a command is neither lost nor repeated without need;
what it did is seen by the observations that follow.  An instance whose command Novita refuses for
good is again what it was before, and the event of that change carries Novita's words.
"""

from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.errors import (
    BadCredentials,
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
    QuotaExceeded,
    RefusedForGood,
)
from gpukeeper.domain.instances import Command, Instance, LastCommand, Reason, Status
from gpukeeper.domain.lifecycle.transitions import (
    COMING_UP,
    CONFIRM_DELETION_AFTER,
    REFUSAL_CODES,
    RISING,
    Limits,
    change_status,
    drop_refusal,
    fail,
)
from gpukeeper.domain.machines import Phase

# Where these commands are asked again until they are done, whatever Novita answers.
_ASKED_IN = {Command.STOP: Status.STOPPING, Command.DELETE: Status.DELETING}

# Where a machine stays that a command did not reach.
_WHERE_IT_WAS = {Command.STOP: Phase.UP, Command.START: Phase.DOWN, Command.RESTART: Phase.UP}


def apply_command_result(
    instance: Instance, command: Command, error: NovitaError | None, now: datetime, limits: Limits
) -> Instance:
    """Fold Novita's answer to a command into the row; ``error`` is None when it was accepted.

    An unknown outcome or a temporary error leads to asking again later; "invalid state change"
    to a fresh observation, since the command has often taken effect already (API notes §3.4).  A
    refusal for good is told at once.
    """
    failures = instance.watch.failures + 1 if _is_temporary(error) else 0
    after = replace(
        instance,
        last_command=_updated_command(instance, command, error, now),
        reason=_reason(instance, command, error),
        watch=replace(instance.watch.look_again(), failures=failures),
    )
    to_confirm = replace(after, watch=replace(after.watch, confirm_at=now))
    if command is Command.DELETE and (error is None or isinstance(error, NovitaNotFound)):
        confirm_at = now + CONFIRM_DELETION_AFTER
        return replace(after, watch=replace(after.watch, confirm_at=confirm_at))
    if error is None:
        # A machine that was down restarts by being started.
        is_done = command is instance.pending_command or instance.machine.phase is Phase.DOWN
        return replace(after, pending_command=None) if is_done else after
    if isinstance(error, InvalidStateChange | NovitaNotFound):
        return to_confirm
    if _is_temporary(error):
        return after
    if _is_awaited(instance, command) and _is_final(instance, command, error):
        return revert_command(after, now, error.message, error.reason)
    if command in (Command.DELETE, Command.STOP):
        return after
    if command is Command.RESTART:
        return replace(to_confirm, pending_command=None)
    if instance.status not in COMING_UP:
        return after
    return fail(after, error.error_code, error.message, now)


def is_refusal_proven(instance: Instance) -> bool:
    """Whether an observation shows that Novita's "invalid state change" meant what it says.

    Often the command has taken effect all the same (API notes §3.4).  While an earlier answer is
    lost the next one is waited for: its effect may be yet to be seen.
    """
    last = instance.last_command
    if last is None or instance.prior is None or last.is_acknowledged or not last.objections:
        return False
    is_meant = last.objections == last.times or last.objections > 1
    was_never_up = last.verb is Command.STOP and instance.prior.status is Status.FAILED
    phase = instance.machine.phase
    stays = phase is _WHERE_IT_WAS.get(last.verb)
    return is_meant and (stays or (was_never_up and phase in RISING))


def revert_command(
    instance: Instance, now: datetime, words: str = "", said: str | None = None
) -> Instance:
    """Return the instance as it was before the command, which Novita refuses for good.

    ``words`` are Novita's, or else its last objection; ``said`` is its own word for the reason.
    What had failed, or was taken back, keeps the reason of that.  Novita is asked about it.
    """
    prior, last = instance.prior, instance.last_command
    assert prior is not None
    assert last is not None
    refusal = Reason(REFUSAL_CODES[last.verb], words or last.objection, said)
    # An order that was cancelled while it was bought has a machine by now.
    status = Status.CREATING if prior.status is Status.REQUESTED else prior.status
    had_ended_badly = status in (Status.FAILED, Status.RECLAIMED)
    return change_status(
        instance,
        status,
        now,
        reason=(prior.reason if had_ended_badly else None) or refusal,
        desired_state=prior.desired_state,
        last_command=replace(last, refusal=refusal),
        started_at=instance.started_at,
        running_at=instance.running_at,
        watch=replace(instance.watch.look_again(), confirm_at=now),
    )


def _updated_command(
    instance: Instance, command: Command, error: NovitaError | None, now: datetime
) -> LastCommand:
    previous = instance.last_command
    if previous is None or previous.verb is not command:
        previous = LastCommand(command, now, times=0)
    is_objection = isinstance(error, InvalidStateChange)
    return LastCommand(
        command,
        now,
        previous.times + 1,
        # A deletion that was accepted once stays accepted, whatever is answered to it later.
        is_acknowledged=error is None or (command is Command.DELETE and previous.is_acknowledged),
        objections=previous.objections + is_objection,
        objection=error.message if error is not None and is_objection else "",
    )


def _is_awaited(instance: Instance, command: Command) -> bool:
    """Whether the answer is to what the owner wanted last, which can be taken back."""
    is_asked_again = instance.status is _ASKED_IN.get(command)
    return instance.prior is not None and (is_asked_again or command is instance.pending_command)


def _is_final(instance: Instance, command: Command, error: NovitaError) -> bool:
    """Whether the instance is to be what it was: asking again cannot help.

    To delete is given up only where Novita says never.  A start for which there is no machine or no
    money fails with that, as an order does; what had failed before keeps its reason.
    """
    if command is Command.DELETE:
        return isinstance(error, RefusedForGood)
    had_failed = instance.prior is not None and instance.prior.status is Status.FAILED
    is_short = isinstance(error, OutOfStock | InsufficientBalance | QuotaExceeded)
    return command is not Command.START or had_failed or not is_short


def _reason(instance: Instance, command: Command, error: NovitaError | None) -> Reason | None:
    """Return what the row says for itself: that Novita refuses what it is asked again, and why."""
    if error is None or isinstance(error, InvalidStateChange | NovitaNotFound):
        return drop_refusal(instance.reason)
    if _is_temporary(error) or instance.status is not _ASKED_IN.get(command):
        return instance.reason
    return Reason(REFUSAL_CODES[command], error.message, error.reason)


def _is_temporary(error: NovitaError | None) -> bool:
    return isinstance(error, NovitaUnavailable | OutcomeUnknown | BadCredentials)
