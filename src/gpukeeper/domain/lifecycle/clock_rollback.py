"""A clock that was set back: what a row says of times that have not come yet is put right.

Everything that is due is a time in the store.  After the clock was set back those times lie
further ahead than anybody meant, and what has happened seems to happen in the future.
"""

from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.instances import Duplicate, Instance, PurchaseIntent
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits


def correct_times(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance without times that a clock which was ahead has left in it.

    What was to come comes now, at the earliest time that cannot be too late; nothing that is
    done too early does harm.
    """
    asked, buying = instance.last_command, instance.purchase.intent
    righted = replace(
        instance,
        last_command=None if asked is None else replace(asked, at=min(asked.at, now)),
        duplicates=tuple(_surplus(machine, now) for machine in instance.duplicates),
        deadline_at=min(instance.deadline_at, now + instance.order.startup_timeout),
        purchase=replace(
            instance.purchase,
            intent=None if buying is None else _buying(buying, now, limits),
            accepted_at=_by(instance.purchase.accepted_at, now),
            try_at=_by(instance.purchase.try_at, now),
        ),
        machine=replace(instance.machine, gone_at=_by(instance.machine.gone_at, now)),
        watch=replace(
            instance.watch,
            observed_at=_by(instance.watch.observed_at, now),
            confirm_at=_by(instance.watch.confirm_at, now),
        ),
    )
    return instance if righted == instance else schedule(righted, now, limits)


def _buying(buying: PurchaseIntent, now: datetime, limits: Limits) -> PurchaseIntent:
    return replace(
        buying,
        since=min(buying.since, now),
        lookup_until=_by(buying.lookup_until, now + limits.adoption_window),
        lookup_at=_by(buying.lookup_at, now),
    )


def _surplus(machine: Duplicate, now: datetime) -> Duplicate:
    return replace(
        machine,
        found_at=min(machine.found_at, now),
        try_at=min(machine.try_at, now),
        gone_at=_by(machine.gone_at, now),
    )


def _by(at: datetime | None, latest: datetime) -> datetime | None:
    return None if at is None else min(at, latest)
