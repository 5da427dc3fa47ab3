"""How data and notes are written: tables for people, JSON for scripts, data on stdout alone."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer

from gpukeeper.domain.costs import dollars_per_hour, whole_dollars_per_hour

_GAP = "  "

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

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
    "above": _RED,
    "stopped": _GREY,
    "deleted": _GREY,
    "ended": _GREY,
}

# The columns whose first word is one of those above.
_COLOURED_COLUMNS = frozenset({"STATUS", "OUTCOME"})


# Options or arguments that are wrong, each with a sentence.
Faults = list[tuple[str, str]]


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
    """Ask a person; abort unless the answer is yes."""
    if not is_sure:
        ask_to_confirm(question())


def raise_faults(faults: Faults) -> None:
    """End with a usage error that tells all faults of a command at once, if there are any."""
    if not faults:
        return
    told = list(dict.fromkeys(faults))
    if len(told) == 1:
        raise typer.BadParameter(told[0][1], param_hint=told[0][0])
    lines = "".join(f"\n  {option}: {message}" for option, message in told)
    raise typer.BadParameter(lines, param_hint=f"{len(told)} options")


def check_consent(*, is_sure: bool) -> None:
    """Refuse what cannot be undone to a script that does not say that it is sure."""
    if not is_sure and not has_person():
        raise typer.BadParameter(
            "Needed where nobody can be asked: what is deleted cannot be brought back.",
            param_hint="--yes",
        )


def has_person() -> bool:
    """Whether somebody sits there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


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


def record(pairs: Iterable[tuple[str, str | None]]) -> str:
    """Return names and values, one pair to a line; what has no value is left out."""
    shown = [(name, clean(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    colour = is_coloured(sys.stdout)
    return "\n".join(
        f"{name:<{width}}{_GAP}{paint(name.upper(), value) if colour else value}"
        for name, value in shown
    )


def when(at: datetime | None) -> str | None:
    """Return a time as people read it, in UTC."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def money(amount: Decimal | None) -> str | None:
    """Return dollars per hour, in a sentence."""
    return None if amount is None else whole_dollars_per_hour(amount)


def hourly(amount: Decimal | None) -> str | None:
    """Return a price per hour without its sign, with the places that all prices have."""
    return None if amount is None else dollars_per_hour(amount).removeprefix("$")


def age(span: timedelta) -> str:
    """Return a duration in its largest unit, as short as can be: ``5m``, ``3h``, ``12d``."""
    seconds = max(int(span.total_seconds()), 0)
    length, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds // length}{name[0]}"


def remaining(span: timedelta) -> str:
    """Return the time that is left in its largest unit: ``22 min``."""
    seconds = max(int(span.total_seconds()), 0)
    length, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds // length} {name}"


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
