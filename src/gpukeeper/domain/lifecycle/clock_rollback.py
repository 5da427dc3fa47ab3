"""A clock that was set back: a row's times that have not come yet are corrected.

Everything that is due is a time in the store.  After the clock was set back those times lie
further ahead than anybody meant, and what has happened seems to happen in the future.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits

# These stay as they are: what clients were told, what Novita's own clock says, and what
# ``schedule`` sets anew.
KEPT = frozenset(
    {
        "created_at",
        "started_at",
        "running_at",
        "deleted_at",
        "attempts",
        "retry_at",
        "reclaim_at",
        "last_start_at",
        "due_at",
    }
)


def correct_times(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance without times that a clock which was ahead has left in it.

    What was to come comes now, at the earliest time that cannot be too late; nothing that is
    done too early does harm.  Two times may lie ahead: what they put an end to would be lost.
    """
    ahead = {
        "deadline_at": instance.order.startup_timeout,
        "lookup_until": limits.adoption_window,
    }
    corrected = _correct(instance, now, ahead)
    return instance if corrected == instance else schedule(corrected, now, limits)


def _correct(value: Any, now: datetime, ahead: Mapping[str, timedelta]) -> Any:
    """Return a noun with every time in it corrected, however deep, so that none is forgotten."""
    if isinstance(value, tuple):
        return tuple(_correct(each, now, ahead) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    changes: dict[str, Any] = {}
    for name in (field.name for field in fields(value) if field.name not in KEPT):
        old = getattr(value, name)
        if isinstance(old, datetime):
            changes[name] = min(old, now + ahead.get(name, timedelta(0)))
        else:
            changes[name] = _correct(old, now, ahead)
    return replace(value, **changes)
