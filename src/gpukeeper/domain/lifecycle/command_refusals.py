"""What becomes of an instance when Novita refuses for good what its owner wanted.

It is again what it was before the wish, and the event of that change carries Novita's words.
"""

from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.instances import Command, Instance, Reason, Status
from gpukeeper.domain.lifecycle.transitions import REFUSAL_CODES, RISING, change_status
from gpukeeper.domain.machines import Phase

# Where a machine stays that a verb did not reach.
_WHERE_IT_WAS = {Command.STOP: Phase.UP, Command.START: Phase.DOWN, Command.RESTART: Phase.UP}


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
