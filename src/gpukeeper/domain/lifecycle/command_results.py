"""What comes of asking Novita to start, stop, restart or delete a machine.

The answer is folded into the row, so that a command is neither lost nor repeated without need;
what it did is seen by the observations that follow.  An instance whose command Novita refuses for
good is again what it was before, and the event of that change carries Novita's words.
"""

from dataclasses import replace
from datetime import datetime, timedelta

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
    REFUSAL_CODES,
    RISING,
    Limits,
    change_status,
    drop_refusal,
    fail,
)
from gpukeeper.domain.machines import Phase

# A deleted machine is usually gone after 2 s (API notes §4), so it is asked about soon after.
CONFIRM_DELETE_AFTER = timedelta(seconds=3)

# Where these verbs are asked again until they are done, whatever Novita answers.
_ASKED_IN = {Command.STOP: Status.STOPPING, Command.DELETE: Status.DELETING}

# Where a machine stays that a verb did not reach.
_WHERE_IT_WAS = {Command.STOP: Phase.UP, Command.START: Phase.DOWN, Command.RESTART: Phase.UP}


def apply_command_result(
    instance: Instance, verb: Command, error: NovitaError | None, now: datetime, limits: Limits
) -> Instance:
    """Fold Novita's answer to a verb into the row; ``error`` is None when it was accepted.

    An unknown outcome or a temporary error leads to asking again later; "invalid state change"
    to a fresh look, since the verb has often taken effect already (API notes §3.4).  What is
    refused for good is said at once.
    """
    failures = instance.watch.failures + 1 if _is_temporary(error) else 0
    asked = replace(
        instance,
        last_command=_asked(instance, verb, error, now),
        reason=_reason(instance, verb, error),
        watch=replace(instance.watch.look_again(), failures=failures),
    )
    to_confirm = replace(asked, watch=replace(asked.watch, confirm_at=now))
    if verb is Command.DELETE and (error is None or isinstance(error, NovitaNotFound)):
        confirm_at = now + CONFIRM_DELETE_AFTER
        return replace(asked, watch=replace(asked.watch, confirm_at=confirm_at))
    if error is None:
        # A machine that was down restarts by being started.
        is_done = verb is instance.pending_command or instance.machine.phase is Phase.DOWN
        return replace(asked, pending_command=None) if is_done else asked
    if isinstance(error, InvalidStateChange | NovitaNotFound):
        return to_confirm
    if _is_temporary(error):
        return asked
    if _is_awaited(instance, verb) and _is_final(instance, verb, error):
        return revert_command(asked, now, error.message, error.reason)
    if verb in (Command.DELETE, Command.STOP):
        return asked
    if verb is Command.RESTART:
        return replace(to_confirm, pending_command=None)
    if instance.status not in COMING_UP:
        return asked
    return fail(asked, error.error_code, error.message, now)


def is_refusal_proven(instance: Instance) -> bool:
    """Whether a look shows that Novita's "invalid state change" meant what it says.

    Often the verb has taken effect all the same (API notes §3.4).  While an earlier answer is lost
    the next one is waited for: what it did may be yet to be seen.
    """
    asked = instance.last_command
    if asked is None or instance.prior is None or asked.is_acknowledged or not asked.objections:
        return False
    is_meant = asked.objections == asked.times or asked.objections > 1
    was_never_up = asked.verb is Command.STOP and instance.prior.status is Status.FAILED
    phase = instance.machine.phase
    stays = phase is _WHERE_IT_WAS.get(asked.verb)
    return is_meant and (stays or (was_never_up and phase in RISING))


def revert_command(
    instance: Instance, now: datetime, words: str = "", said: str | None = None
) -> Instance:
    """Return the instance as it was before its owner's wish, which Novita refuses for good.

    ``words`` are Novita's, or else its last objection; ``said`` is its own word for the reason.
    What had failed, or was taken back, keeps the reason of that.  Novita is asked about it.
    """
    prior, asked = instance.prior, instance.last_command
    assert prior is not None
    assert asked is not None
    refusal = Reason(REFUSAL_CODES[asked.verb], words or asked.objection, said)
    # An order that was cancelled while it was bought has a machine by now.
    status = Status.CREATING if prior.status is Status.REQUESTED else prior.status
    had_ended_badly = status in (Status.FAILED, Status.RECLAIMED)
    return change_status(
        instance,
        status,
        now,
        reason=(prior.reason if had_ended_badly else None) or refusal,
        desired_state=prior.desired_state,
        last_command=replace(asked, refusal=refusal),
        started_at=instance.started_at,
        running_at=instance.running_at,
        watch=replace(instance.watch.look_again(), confirm_at=now),
    )


def _asked(
    instance: Instance, verb: Command, error: NovitaError | None, now: datetime
) -> LastCommand:
    previous = instance.last_command
    if previous is None or previous.verb is not verb:
        previous = LastCommand(verb, now, times=0)
    is_objection = isinstance(error, InvalidStateChange)
    return LastCommand(
        verb,
        now,
        previous.times + 1,
        # A deletion that was accepted once stays accepted, whatever is answered to it later.
        is_acknowledged=error is None or (verb is Command.DELETE and previous.is_acknowledged),
        objections=previous.objections + is_objection,
        objection=error.message if error is not None and is_objection else "",
    )


def _is_awaited(instance: Instance, verb: Command) -> bool:
    """Whether the answer is to what the owner wanted last, which can be taken back."""
    is_asked_again = instance.status is _ASKED_IN.get(verb)
    return instance.prior is not None and (is_asked_again or verb is instance.pending_command)


def _is_final(instance: Instance, verb: Command, error: NovitaError) -> bool:
    """Whether the instance is to be what it was: asking again cannot help.

    To delete is given up only where Novita says never.  A start for which there is no machine or no
    money fails with that, as an order does; what had failed before keeps its reason.
    """
    if verb is Command.DELETE:
        return isinstance(error, RefusedForGood)
    had_failed = instance.prior is not None and instance.prior.status is Status.FAILED
    is_short = isinstance(error, OutOfStock | InsufficientBalance | QuotaExceeded)
    return verb is not Command.START or had_failed or not is_short


def _reason(instance: Instance, verb: Command, error: NovitaError | None) -> Reason | None:
    """Return what the row says for itself: that Novita refuses what it is asked again, and why."""
    if error is None or isinstance(error, InvalidStateChange | NovitaNotFound):
        return drop_refusal(instance.reason)
    if _is_temporary(error) or instance.status is not _ASKED_IN.get(verb):
        return instance.reason
    return Reason(REFUSAL_CODES[verb], error.message, error.reason)


def _is_temporary(error: NovitaError | None) -> bool:
    return isinstance(error, NovitaUnavailable | OutcomeUnknown | BadCredentials)
