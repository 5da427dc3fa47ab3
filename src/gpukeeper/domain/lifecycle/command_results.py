"""What comes of asking Novita to start, stop, restart or delete a machine.

An answer is folded into the row, so that a verb is neither lost nor repeated without need; what
the verb did is seen by the looks that follow (:mod:`gpukeeper.domain.lifecycle.observations`).
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
from gpukeeper.domain.lifecycle.command_refusals import revert_command
from gpukeeper.domain.lifecycle.transitions import (
    COMING_UP,
    REFUSAL_CODES,
    Limits,
    drop_refusal,
    fail,
)
from gpukeeper.domain.machines import Phase

# A deleted machine is usually gone after 2 s (API notes §4), so it is asked about soon after.
CONFIRM_DELETE_AFTER = timedelta(seconds=3)

# Where these verbs are asked again until they are done, whatever Novita answers.
_ASKED_IN = {Command.STOP: Status.STOPPING, Command.DELETE: Status.DELETING}


def apply_command_result(
    instance: Instance, verb: Command, error: NovitaError | None, now: datetime, limits: Limits
) -> Instance:
    """Fold Novita's answer to a verb into the row; ``error`` is None when it was accepted.

    An unknown outcome or a temporary error leads to asking again later; "invalid state change"
    to a fresh look, since the verb has often taken effect already (API notes §3.4).  What is
    refused for good is said at once (:mod:`gpukeeper.domain.lifecycle.command_refusals`).
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
