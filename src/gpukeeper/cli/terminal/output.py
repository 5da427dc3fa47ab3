"""How data and notes are written: tables for people, JSON for scripts, data on stdout alone."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer

from gpukeeper.domain.costs import dollars_per_hour, whole_dollars_per_hour

_GAP = "  "

# Events that come one by one stand in columns as well; the longest type is
# "instance.connection_changed".
_TYPE_WIDTH = 27

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_GREEN, _YELLOW, _RED, _GREY = "32", "33", "31", "90"
_COLOURS = {
    **dict.fromkeys(("running", "delivered", "accepted"), _GREEN),
    **dict.fromkeys(("requested", "creating", "starting", "stopping", "deleting"), _YELLOW),
    **dict.fromkeys(("failed", "reclaimed", "lost", "exhausted", "above"), _RED),
    **dict.fromkeys(("stopped", "deleted", "ended"), _GREY),
    "pending": _YELLOW,
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


def format_record(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Return names and values, one pair to a line; what has no value is left out."""
    shown = [(name, clean(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    colour = is_coloured(sys.stdout)
    return "\n".join(
        f"{name:<{width}}{_GAP}{paint(name.upper(), value) if colour else value}"
        for name, value in shown
    )


def format_time(at: datetime | None) -> str | None:
    """Return a time as people read it, in UTC."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def format_dollars(amount: Decimal | None) -> str | None:
    """Return dollars per hour, in a sentence."""
    return None if amount is None else whole_dollars_per_hour(amount)


def format_price(amount: Decimal | None) -> str | None:
    """Return a price per hour without its sign, with the places that all prices have."""
    return None if amount is None else dollars_per_hour(amount).removeprefix("$")


def format_disk(size_gb: int | None) -> str | None:
    """Return the size of a disk."""
    return f"{size_gb} GB" if size_gb else None


def format_age(now: datetime, since: datetime | None) -> str | None:
    """Return an age in its largest unit, as short as can be: ``5m``, ``3h``, ``12d``."""
    if since is None:
        return None
    number, unit = _in_largest_unit(now - since)
    return f"{number}{unit[0]}"


def format_time_left(span: timedelta) -> str:
    """Return the time that is left in its largest unit: ``22 min``."""
    number, unit = _in_largest_unit(span)
    return f"{number} {unit}"


def format_event(*columns: str | None) -> str:
    """Return time, type, instance, status and reason of an event on one line, as far as known."""
    at, event_type, *others = columns
    line = "  ".join(filter(None, (at, str(event_type).ljust(_TYPE_WIDTH), *others)))
    return clean(line.rstrip())


def clean(text: str) -> str:
    """Return text on one line, without characters that could steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted there: on a terminal, unless NO_COLOR says no."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(column: str, cell: str) -> str:
    """Return a cell in the colour of its first word, if the column has such words."""
    if column not in _COLOURED_COLUMNS:
        return cell
    word = cell.split(" ", 1)[0].rstrip(",")
    colour = _YELLOW if "taken " in cell else _COLOURS.get(word)
    return f"\x1b[{colour}m{cell}\x1b[0m" if colour else cell


def _in_largest_unit(span: timedelta) -> tuple[int, str]:
    seconds = max(int(span.total_seconds()), 0)
    length, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return seconds // length, name
