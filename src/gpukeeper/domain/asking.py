"""What comes of asking Novita to start, stop, restart or delete a machine.

An answer is folded into the row, so that a verb is neither lost nor repeated without need; what
the verb did is seen by the looks that follow (:mod:`gpukeeper.domain.watching`).
"""

from dataclasses import replace
from datetime import datetime, timedelta

from gpukeeper.domain.errors import (
    BadCredentials,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaUnavailable,
    OutcomeUnknown,
)
from gpukeeper.domain.instance import Asked, Instance, Phase, Reason, Status, Verb
from gpukeeper.domain.lifecycle import COMING_UP, REFUSED, Limits, fail, is_new, without_refusal

# A deleted machine is usually gone after 2 s (API notes §4), so it is asked about soon after.
CONFIRM_DELETE_AFTER = timedelta(seconds=3)

# Where these verbs are asked again until they are done, whatever Novita answers.
_ASKED_IN = {Verb.STOP: Status.STOPPING, Verb.DELETE: Status.DELETING}


def answered(
    instance: Instance, verb: Verb, error: NovitaError | None, now: datetime, limits: Limits
) -> Instance:
    """Fold Novita's answer to a verb into the row; ``error`` is None when it was accepted.

    An unknown outcome or a temporary error leads to asking again later; "invalid state change"
    to a fresh look, since the verb has often taken effect already (API notes §3.4).
    """
    previous = instance.asked
    times = previous.times + 1 if previous and previous.verb is verb else 1
    # To delete what is gone is no error; a new machine may only seem to be gone.
    is_gone = isinstance(error, NovitaNotFound) and not is_new(instance, now, limits)
    is_acknowledged = error is None or (verb is Verb.DELETE and is_gone)
    asked = replace(
        instance,
        asked=Asked(verb, now, times, is_acknowledged),
        reason=_reason(instance, verb, error),
        seen_fingerprint=None,
        failures=instance.failures + 1 if _is_temporary(error) else 0,
    )
    if verb is Verb.DELETE and is_acknowledged:
        return replace(asked, confirm_at=now + CONFIRM_DELETE_AFTER)
    if error is None:
        # A machine that was down restarts by being started.
        is_done = verb is instance.wanted or instance.phase is Phase.DOWN
        return replace(asked, wanted=None) if is_done else asked
    if isinstance(error, InvalidStateChange | NovitaNotFound):
        return replace(asked, confirm_at=now)
    if _is_temporary(error) or verb in (Verb.DELETE, Verb.STOP):
        return asked
    if verb is Verb.RESTART:
        return replace(asked, wanted=None, confirm_at=now)
    if instance.status not in COMING_UP:
        return asked
    return fail(asked, error.error_code, error.message, now)


def _reason(instance: Instance, verb: Verb, error: NovitaError | None) -> Reason | None:
    """Return what the row says for itself: that Novita refuses what it is asked again, and why."""
    if error is None or isinstance(error, InvalidStateChange | NovitaNotFound):
        return without_refusal(instance.reason)
    if _is_temporary(error) or instance.status is not _ASKED_IN.get(verb):
        return instance.reason
    return Reason(REFUSED[verb], error.message)


def _is_temporary(error: NovitaError | None) -> bool:
    return isinstance(error, NovitaUnavailable | OutcomeUnknown | BadCredentials)
