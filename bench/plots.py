"""Draws what things cost against how many there are, as one SVG of small panels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 46, 40
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.t{font-weight:600;font-size:13px;fill:#111}"
    ".g{stroke:#ddd}.l{stroke:#2563eb;fill:none;stroke-width:2}.p{fill:#2563eb}"
    ".m{stroke:#c2410c;stroke-dasharray:5 4}.e{text-anchor:end}.c{text-anchor:middle}"
    ".w{fill:#c2410c}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure against N; ``limit`` is its target at the largest N, if it has one."""

    title: str
    points: Sequence[tuple[int, float]]
    limit: float | None = None


def draw(panels: Sequence[Panel], *, of: str) -> str:
    """Return the panels as SVG, two in a row; ``of`` says what N counts."""
    rows = math.ceil(len(panels) / 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {rows * _HEIGHT}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for number, panel in enumerate(panels):
        x, y = number % 2 * _WIDTH, number // 2 * _HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, of), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, of: str) -> list[str]:
    most = max(count for count, _ in panel.points)
    least = min(count for count, _ in panel.points)
    top = _round_up(max([value for _, value in panel.points] + [panel.limit or 0]))
    span = math.log10(most / least) or 1

    def x(count: int) -> float:
        inner = _WIDTH - _LEFT - _RIGHT
        return round(_LEFT + inner * math.log10(count / least) / span, 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top, 1)

    parts = [f'<text class="t" x="{_LEFT}" y="22">{escape(panel.title)}</text>']
    for part in range(5):
        value = top * part / 4
        parts.append(f'<path class="g" d="M{_LEFT} {y(value)}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="e" x="{_LEFT - 6}" y="{y(value) + 4}">{value:g}</text>')
    if panel.limit is not None:
        parts.append(f'<path class="m" d="M{_LEFT} {y(panel.limit)}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="w e" x="{_WIDTH - _RIGHT}" y="{y(panel.limit) - 5}">'
            f"target at {most:,}: {panel.limit:g}</text>"
        )
    line = "L".join(f"{x(count)} {y(value)}" for count, value in panel.points)
    parts.append(f'<path class="l" d="M{line}"/>')
    for count, value in panel.points:
        parts.append(f'<circle class="p" cx="{x(count)}" cy="{y(value)}" r="3.5"/>')
        parts.append(f'<text class="c" x="{x(count)}" y="{y(value) - 9}">{_told(value)}</text>')
        parts.append(f'<text class="c" x="{x(count)}" y="{_HEIGHT - 22}">{count:,}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="c" x="{middle}" y="{_HEIGHT - 5}">{escape(of)}</text>')
    return parts


def _round_up(value: float) -> float:
    """Return the next number whose quarters are short."""
    if value <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(
        step * size for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12) if step * size >= value
    )


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
