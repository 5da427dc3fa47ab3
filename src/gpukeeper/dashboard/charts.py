"""Draw figures as SVG: paths in the steps of a window, 100 high; labels are HTML around them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median_low

from gpukeeper.domain.status_timeline import StatusPeriod, Window

HEIGHT = 100.0

# No part of a bar is drawn narrower than this, or it could not be seen; in per cent.
_NARROWEST = 1.5


@dataclass(frozen=True, slots=True)
class Area:
    """One filled step line; ``top`` is the value at the upper edge."""

    width: int
    top: float
    fill: str
    line: str
    peak: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One of the areas that lie on top of each other."""

    name: str
    fill: str


@dataclass(frozen=True, slots=True)
class Stack:
    """Areas on top of each other, the lowest first."""

    width: int
    top: float
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """The times of one product as places from 0 to 100 on a scale that all strips share."""

    name: str
    places: tuple[float, ...]
    middle: float
    median: timedelta
    fastest: timedelta
    slowest: timedelta
    count: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a bar: where it begins and how wide it is, in per cent."""

    span: StatusPeriod
    begins: float
    width: float
    took: timedelta


def draw_area(levels: Sequence[float]) -> Area:
    """Draw levels over time."""
    top = round_top(max(levels, default=0.0))
    line = _steps(levels, top)
    return Area(
        width=len(levels),
        top=top,
        fill=f"M0 {HEIGHT:g}V{line[len('M0 ') :]}V{HEIGHT:g}Z",
        line=line,
        peak=max(levels, default=0.0),
    )


def draw_stack(levels: Mapping[str, Sequence[float]]) -> Stack:
    """Draw several levels on top of each other; those that are nothing all the time are left out.

    A layer is drawn from its upper edge down to the ground, so the highest has to be drawn first.
    """
    width = max(map(len, levels.values()), default=0)
    total = [0.0] * width
    sums: list[tuple[str, list[float]]] = []
    for name, series in levels.items():
        total = [below + own for below, own in zip(total, series, strict=True)]
        if any(series):
            sums.append((name, total))
    # Machines are counted: a scale of which a half is a fraction would say nothing.
    top = 2 * math.ceil(round_top(max(2.0, max(total, default=0.0))) / 2)
    return Stack(
        width=width,
        top=top,
        layers=tuple(
            Layer(name, f"M0 {HEIGHT:g}V{_steps(line, top)[len('M0 ') :]}V{HEIGHT:g}Z")
            for name, line in sums
        ),
    )


def draw_strips(times: Mapping[str, Sequence[timedelta]]) -> tuple[Strip, ...]:
    """Place the times of each product on one scale, the quickest product first."""
    longest = max((series[-1] for series in times.values()), default=timedelta(seconds=1))
    scale = max(longest, timedelta(seconds=1))
    found = [
        Strip(
            name=name,
            places=tuple(round(100 * each / scale, 1) for each in series),
            middle=round(100 * median_low(series) / scale, 1),
            median=median_low(series),
            fastest=series[0],
            slowest=series[-1],
            count=len(series),
        )
        for name, series in times.items()
    ]
    return tuple(sorted(found, key=lambda strip: strip.median))


def draw_timeline(spans: Sequence[StatusPeriod], now: datetime) -> tuple[Piece, ...]:
    """Lay the spans of a life side by side, each at least so wide that it is seen."""
    took = [max((span.until or now) - span.since, timedelta()) for span in spans]
    whole = sum(took, timedelta()) or timedelta(seconds=1)
    wide = [max(100 * each / whole, _NARROWEST) for each in took]
    factor = 100 / sum(wide) if wide else 1.0
    found: list[Piece] = []
    begins = 0.0
    for span, width, length in zip(spans, wide, took, strict=True):
        found.append(Piece(span, round(begins, 2), round(width * factor, 2), length))
        begins += width * factor
    return tuple(found)


def ticks(window: Window, count: int = 4) -> tuple[datetime, ...]:
    """Return the times at which the parts of a window begin, and its end."""
    length = window.end - window.start
    return tuple(window.start + length * number / count for number in range(count + 1))


def round_top(value: float) -> float:
    """Return the next number with one digit that is not below the value and has a plain half."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(step * size for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * size >= value * 0.999)


def _steps(levels: Sequence[float], top: float) -> str:
    """Return the path of a step line from the left to the right edge."""
    parts = [f"M0 {_y(levels[0], top)}"] if levels else [f"M0 {HEIGHT:g}"]
    for number, level in enumerate(levels):
        parts.append(f"V{_y(level, top)}H{number + 1}")
    return "".join(parts)


def _y(level: float, top: float) -> str:
    return f"{HEIGHT * (1 - level / top):.1f}"
