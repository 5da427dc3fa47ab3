"""WHERE THE STATE MACHINE IS: what the owner may ask for, and the one thing to do next.

::

    order ──► requested ──accepted──► creating ──► starting ──► running ──stop──► stopping
                  │                       │          │  ▲         │ │                │
                  │ refused      deadline,│boot error│  └─restart─┘ │                ▼
                  ▼                       ▼          │  └──start────│──────────── stopped
                failed ◄──────────────────┴──────────┘              ├──► reclaimed (spot)
                  └── comes up late after all ──► running           └──► lost (gone, unasked)

    any status ──delete──► deleting ──Novita confirms the absence──► deleted

``decide`` reads the row alone: what Novita says has been folded into it before
(:mod:`~gpukeeper.domain.lifecycle.observations`), and so has what came of a step
(:mod:`~gpukeeper.domain.lifecycle.purchases`, :mod:`~gpukeeper.domain.lifecycle.command_results`,
:mod:`~gpukeeper.domain.lifecycle.duplicates`).  Every function is pure: the row, the time and the
limits go in, a new row or a step comes out.
"""

from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle.rules import RULES
from gpukeeper.domain.lifecycle.steps import ChangeStatus, Step, Wait
from gpukeeper.domain.lifecycle.transitions import Limits


def decide(instance: Instance, now: datetime, limits: Limits) -> Step:
    """Return the one thing to do next for an instance."""
    times: list[datetime] = []
    for rule in RULES:
        found = rule(instance, now, limits)
        if isinstance(found, datetime):
            times.append(found)
        elif found is not None:
            return found
    return Wait(min(times, default=None))


def schedule(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance with ``due_at`` set to when it next wants attention."""
    step = decide(instance, now, limits)
    return replace(instance, due_at=step.until if isinstance(step, Wait) else now)


def settle(instance: Instance, now: datetime, limits: Limits) -> Instance:
    """Return the instance in the status that its rules demand, if nothing is to be asked for it."""
    step = decide(instance, now, limits)
    return step.change(instance, now) if isinstance(step, ChangeStatus) else instance
