"""How an instance changes its status, and the times and limits that go with it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.domain.instances import Command, Instance, Reason, Status
from gpukeeper.domain.machines import Phase

# Statuses that lead to `running` and that the start-up deadline watches.
COMING_UP = frozenset({Status.REQUESTED, Status.CREATING, Status.STARTING})
# Statuses that end by themselves: while there are any, Novita is looked at often.
IN_TRANSIT = COMING_UP | {Status.STOPPING, Status.DELETING}
# What Novita says of a machine on its way up.
RISING = frozenset({Phase.PREPARING, Phase.STARTING})

# A deleted machine is usually gone after 2 s (API notes §4): Novita is asked about it soon after.
CONFIRM_DELETION_AFTER = timedelta(seconds=3)

# The reason when Novita refuses a command for good.
REFUSAL_CODES = {command: f"{command.value}_refused" for command in Command}


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the controller is.

    ``adoption_window`` is how long Novita may keep a new machine out of its answers;
    ``order_patience`` how long a caller waits for the answer to an order;
    ``ask_again_after`` doubles with each repetition of a command, and once more for a command that
    Novita has accepted, up to ``ask_again_ceiling``.
    """

    adoption_window: timedelta = timedelta(seconds=90)
    order_patience: timedelta = timedelta(seconds=20)
    ask_again_after: timedelta = timedelta(seconds=30)
    ask_again_ceiling: timedelta = timedelta(minutes=5)
    retry_ceiling: timedelta = timedelta(minutes=1)


def change_status(
    instance: Instance,
    status: Status,
    now: datetime,
    *,
    reason: Reason | None = None,
    **facts: Any,
) -> Instance:
    """Return the instance in a new status with the times that go with it.

    ``facts`` are further fields to set.  What the owner wanted before is settled or overtaken.
    """
    changes: dict[str, Any] = {"pending_command": None, "prior": None}
    if status is Status.STARTING and instance.status is not Status.CREATING:
        changes["started_at"] = now
    if status is Status.RUNNING:
        changes["running_at"] = now
    return replace(instance, status=status, reason=reason, **(changes | facts))


def fail(instance: Instance, code: str, message: str, now: datetime) -> Instance:
    """Return the instance as failed; its machine, if there is one, is still watched."""
    return change_status(instance, Status.FAILED, now, reason=Reason(code, message))


def mark_deleted(instance: Instance, now: datetime) -> Instance:
    """Return the instance as deleted: Novita confirmed that there is no machine."""
    return change_status(
        instance,
        Status.DELETED,
        now,
        reason=drop_refusal(instance.reason),
        deleted_at=now,
        machine=instance.machine.end(now),
        watch=replace(instance.watch, confirm_at=None),
    )


def is_coming_up(instance: Instance) -> bool:
    """Whether the start-up deadline holds: also for a stop that waits for its machine to be up.

    Novita stops what runs and nothing else, so a machine that never comes up is never stopped.
    """
    if instance.status is Status.STOPPING:
        return instance.is_to_be_stopped and instance.machine.phase in RISING
    return instance.status in COMING_UP


def drop_refusal(reason: Reason | None) -> Reason | None:
    """Return a reason unless it is that Novita refuses a command, which has come to its end."""
    is_refusal = reason is not None and reason.code in REFUSAL_CODES.values()
    return None if is_refusal else reason


def is_new(instance: Instance, now: datetime, limits: Limits) -> bool:
    """Whether Novita may still keep this machine out of its answers (API notes §16.2).

    What it has shown once is not new: its absence is an absence.
    """
    accepted_at, was_shown = instance.purchase.accepted_at, instance.watch.observed_at is not None
    return accepted_at is not None and not was_shown and now < accepted_at + limits.adoption_window
