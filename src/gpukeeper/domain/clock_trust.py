"""Whether the clock is to be believed, and what time it is while it is not.

A clock that jumps ahead would end all that has a deadline and remove all that is old, which nobody
can undo when it jumps back.  So a jump is not followed at once: time goes on as steady seconds pass
until Novita's own time confirms the jump, or the clock has kept to it for long.  Everything that is
done meanwhile is done in a time that cannot be too late.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# A clock that is corrected by less is followed at once: no deadline is as short.
TOLERANCE = timedelta(seconds=10)
# Novita's time has whole seconds and an answer's way behind it.
NOVITA_TOLERANCE = timedelta(seconds=30)
# What a clock has kept to for so long is its time, whether anybody confirms it or not.
PATIENCE = timedelta(minutes=15)
# What was stored last is older at a start only if the service was off, or its clock is wrong.
LONGEST_ABSENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """How far the clock has jumped ahead, and when it did, in steady seconds."""

    ahead: timedelta
    since: float


@dataclass(frozen=True, slots=True)
class TrustedTime:
    """What time it is, when that was found, in steady seconds, and whether the clock differs."""

    at: datetime
    read_at: float
    doubt: ClockDoubt | None = None


def begin_time(newest: datetime | None, clock: datetime, steady: float) -> TrustedTime:
    """Return the time at a start; ``newest`` is what was stored last, if anything was.

    A service that was off for a while and one whose clock is ahead look the same.
    """
    if newest is None or clock - newest <= LONGEST_ABSENCE:
        return TrustedTime(clock, steady)
    return TrustedTime(newest, steady, ClockDoubt(clock - newest, steady))


def read_time(
    last: TrustedTime, clock: datetime, steady: float, *, longest_lapse: timedelta | None = None
) -> TrustedTime:
    """Return the time by a clock, and by the steady seconds since it was read ``last``.

    A clock that was set back is followed.  Where more than the ``longest_lapse`` seems to have
    passed since, that is a jump as well: the process was stopped, or both clocks are wrong.
    """
    passed = timedelta(seconds=steady - last.read_at)
    is_lapse = longest_lapse is not None and passed > longest_lapse
    at = last.at if is_lapse else last.at + passed
    ahead = clock - at
    if ahead <= TOLERANCE:
        return TrustedTime(clock, steady)
    doubt = last.doubt
    if doubt is None or is_lapse or abs(ahead - doubt.ahead) > TOLERANCE:
        return TrustedTime(at, steady, ClockDoubt(ahead, steady))
    if steady - doubt.since >= PATIENCE.total_seconds():
        return TrustedTime(clock, steady)
    return TrustedTime(at, steady, doubt)


def check_with_novita(time: TrustedTime, clock: datetime, novita: datetime) -> TrustedTime:
    """Return the time after Novita told its own, which may confirm the clock or contradict it.

    What contradicts it agrees with the time that is kept instead, or lies between the two: then
    the clock is ahead, and so much has passed all the same.  Anything else says nothing.
    """
    if time.doubt is None:
        return time
    if abs(clock - novita) <= NOVITA_TOLERANCE:
        return TrustedTime(clock, time.read_at)
    if abs(time.at - novita) <= NOVITA_TOLERANCE:
        return replace(time, doubt=replace(time.doubt, since=time.read_at))
    if time.at < novita < clock:
        return TrustedTime(novita, time.read_at, ClockDoubt(clock - novita, time.read_at))
    return time
