"""How long an instance was in which status, and how many were in one over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.domain.instances import Status


@dataclass(frozen=True, slots=True)
class StatusPeriod:
    """The time in one status; ``until`` is None while it lasts."""

    status: Status
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """What an instance went through: each status that it entered, and when, oldest first.

    ``price_per_hour`` is in USD for all GPUs, None before anything is bought; ``gone_at`` is when
    Novita confirmed that the machine no longer exists, ``gpu_off_at`` since when it shows it
    exited.  ``prices`` says which price held from when on, oldest first; empty: it never changed.
    """

    product_name: str
    price_per_hour: Decimal | None
    entered: tuple[tuple[Status, datetime], ...]
    gone_at: datetime | None = None
    disk_gb: int = 0
    gpu_off_at: datetime | None = None
    prices: tuple[tuple[datetime, Decimal], ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that is cut into ``steps`` equal parts."""

    start: datetime
    end: datetime
    steps: int

    @property
    def step(self) -> timedelta:
        """How long one part is."""
        return (self.end - self.start) / self.steps


def status_periods(life: Timeline) -> tuple[StatusPeriod, ...]:
    """Return the statuses of a life one after the other; the last one has no end."""
    ends = [at for _, at in life.entered[1:]]
    return tuple(
        StatusPeriod(status, since, until)
        for (status, since), until in zip(life.entered, [*ends, None], strict=False)
    )


def time_to_running(life: Timeline) -> timedelta | None:
    """Return how long the first way from the order to `running` took; None if it never ran."""
    ran_at = next((at for status, at in life.entered if status is Status.RUNNING), None)
    if ran_at is None or life.entered[0][0] is not Status.REQUESTED:
        return None
    return ran_at - life.entered[0][1]


def mean_levels(
    weighed: Iterable[tuple[datetime, datetime | None, float]], window: Window
) -> Sequence[float]:
    """Return for each part of the window the mean sum of the weights that held in it.

    ``weighed`` are stretches of time (None: until now) with a weight each.
    """
    whole = [0.0] * (window.steps + 1)
    parts = [0.0] * window.steps
    for since, until, weight in weighed:
        begins = _position(since, window)
        ends = _position(until, window) if until is not None else float(window.steps)
        if ends <= begins:
            continue
        first, last = int(begins), min(int(ends), window.steps - 1)
        if first == last:
            parts[first] += weight * (ends - begins)
            continue
        parts[first] += weight * (first + 1 - begins)
        parts[last] += weight * (ends - last)
        # Those between are covered whole: only where that begins and ends is noted.
        whole[first + 1] += weight
        whole[last] -= weight
    held = 0.0
    found = []
    for change, part in zip(whole, parts, strict=False):
        held += change
        found.append(max(held + part, 0.0))
    return found


def _position(at: datetime, window: Window) -> float:
    """Return where a time lies in the window, counted in its parts."""
    return min(max((at - window.start) / window.step, 0.0), float(window.steps))
