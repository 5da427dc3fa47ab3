"""How data and notes are written: tables for people, JSON for scripts, data on stdout alone."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer

from gpukeeper.domain.costs import dollars_per_hour
from gpukeeper.domain.events import format_money

_GAP = "  "

# A column that is cut below this says too little; it holds a date.
_NARROWEST_COLUMN = 12

_GREEN, _YELLOW, _RED, _GREY = "32", "33", "31", "90"
_COLOURS = {
    "running": _GREEN,
    "delivered": _GREEN,
    "accepted": _GREEN,
    "requested": _YELLOW,
    "creating": _YELLOW,
    "starting": _YELLOW,
    "stopping": _YELLOW,
    "deleting": _YELLOW,
    "pending": _YELLOW,
    "failed": _RED,
    "reclaimed": _RED,
    "lost": _RED,
    "exhausted": _RED,
    "stopped": _GREY,
    "deleted": _GREY,
    "ended": _GREY,
}

# The columns whose first word is one of those above.
_COLOURED_COLUMNS = frozenset({"STATUS", "OUTCOME"})


class Format(StrEnum):
    """How data is written."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="A table, or the service's JSON.")]


def show(output: Format, raw: Any, table: Callable[[], str]) -> None:
    """Write data to stdout: ``raw`` as JSON, or what ``table`` returns (nothing when empty)."""
    # Escaped to ASCII, so that no locale can break it and no text can steer a terminal.
    text = json.dumps(raw, indent=2) if output is Format.JSON else table()
    if text:
        print(text, flush=True)
    else:
        note("There are none.")


def note(text: str) -> None:
    """Write a sentence for people to stderr."""
    print(clean(text), file=sys.stderr)


def confirm(question: Callable[[], str], *, is_sure: bool) -> None:
    """Ask a person at a terminal; abort unless the answer is yes.  A script is not asked."""
    if not is_sure and sys.stdin.isatty() and sys.stderr.isatty():
        ask_to_confirm(question())


def ask_to_confirm(question: str) -> None:
    """Ask for a yes; abort unless that is the answer."""
    with _interruptible():
        typer.confirm(clean(question), abort=True, err=True)


def prompt(question: str, default: str | None = None) -> str:
    """Ask for a text."""
    with _interruptible():
        return str(typer.prompt(question, default=default, err=True)).strip()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C at a question end the program as it does everywhere, and not as a no."""
    try:
        yield
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            note("")
            raise KeyboardInterrupt from None
        raise


def table(columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """Return rows under their columns; on a terminal they fit its width and have colours.

    Columns stand in the order of their importance: where there is no room for all, long texts are
    cut first and columns left out last, from the right.  The first column holds the id that other
    commands take and is never cut.  Without rows nothing is returned, not even the columns.
    """
    cells = [[clean(cell or "-") for cell in row] for row in rows]
    if not cells:
        return ""
    is_terminal = sys.stdout.isatty()
    return layout(
        columns,
        cells,
        width=shutil.get_terminal_size().columns if is_terminal else None,
        is_coloured=is_coloured(sys.stdout),
    )


def layout(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None, is_coloured: bool
) -> str:
    """Return the lines of a table, cut to ``width`` unless it is None."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    if width is not None:
        widths = _fit(widths, width)
    lines = [_line(columns, widths, lambda column, cell: cell)]
    paint = _paint if is_coloured else lambda column, cell: cell
    lines += [_line(row, widths, lambda index, cell: paint(columns[index], cell)) for row in rows]
    return "\n".join(lines)


def record(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Return names and values, one pair to a line; what has no value is left out."""
    shown = [(name, clean(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    colour = is_coloured(sys.stdout)
    return "\n".join(
        f"{name:<{width}}{_GAP}{_paint(name.upper(), value) if colour else value}"
        for name, value in shown
    )


def when(at: datetime | None) -> str | None:
    """Return a time as people read it, in UTC."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def money(amount: Decimal | None) -> str | None:
    """Return dollars."""
    return None if amount is None else f"${format_money(amount)}"


def hourly(amount: Decimal | None) -> str | None:
    """Return a price per hour without its sign, with the places that all prices have."""
    return None if amount is None else dollars_per_hour(amount).removeprefix("$")


def clean(text: str) -> str:
    """Return text on one line, without characters that could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there: on a terminal, unless NO_COLOR says no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _fit(widths: Sequence[int], available: int) -> list[int]:
    """Return the widths of as many columns as fit, each cut as little as possible."""
    shown = len(widths)
    narrowest = [widths[0], *(min(width, _NARROWEST_COLUMN) for width in widths[1:])]
    while shown > 1 and _total(narrowest[:shown]) > available:
        shown -= 1
    fitted = list(widths[:shown])
    while _total(fitted) > available and fitted != narrowest[:shown]:
        widest = max(range(1, shown), key=lambda index: fitted[index])
        fitted[widest] -= 1
    return fitted


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], paint: Callable[[int, str], str]) -> str:
    parts = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=False)):
        fitted = cell if len(cell) <= width else cell[: width - 1] + "…"
        parts.append(paint(index, fitted) + " " * (width - len(fitted)))
    return _GAP.join(parts).rstrip()


def _paint(column: str, cell: str) -> str:
    colour = _COLOURS.get(cell.split(" ", 1)[0]) if column in _COLOURED_COLUMNS else None
    return f"\x1b[{colour}m{cell}\x1b[0m" if colour else cell
