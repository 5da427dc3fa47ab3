"""What a machine has cost so far, as well as its statuses can tell.

Novita bills by the second from the moment it pulls the image until the machine is stopped, and
settles once an hour (API notes §7).  We see a status some seconds late, and the disk above the
free 60 GB is billed apart: what is returned here is an estimate, never an invoice.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.domain.instance import Status
from gpukeeper.domain.spans import Life

_ONE_HOUR = timedelta(hours=1)

# From the first of these on a machine is billed; `failed` and `deleting` change nothing about it.
_BILLED_FROM = frozenset({Status.CREATING, Status.STARTING, Status.RUNNING})
_BILLED_UNTIL = frozenset({Status.STOPPED, Status.RECLAIMED, Status.DELETED, Status.LOST})


def billed_of(life: Life) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return the stretches of time in which the machine was billed; None: it still is."""
    stretches: list[tuple[datetime, datetime | None]] = []
    since: datetime | None = None
    for status, at in life.entered:
        if status in _BILLED_FROM:
            since = since or at
        elif status in _BILLED_UNTIL and since is not None:
            stretches.append((since, at))
            since = None
    if since is not None:
        stretches.append((since, life.gone_at))
    return tuple(stretches)


def cost_so_far(life: Life, now: datetime) -> Decimal | None:
    """Return the USD that a machine has cost until now.

    None when nothing was bought, or when nothing is known any more of what it went through.
    """
    if life.price_per_hour is None or not life.entered:
        return None
    billed = sum(((until or now) - since for since, until in billed_of(life)), timedelta())
    micro = billed // timedelta(microseconds=1)
    return life.price_per_hour * micro / (_ONE_HOUR // timedelta(microseconds=1))
