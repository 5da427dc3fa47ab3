"""Tables for people: whole where a program reads them, and fitted to the width of a terminal."""

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

from gpukeeper.cli.terminal.output import clean, is_coloured, paint

Item = TypeVar("Item")

_GAP = "  "
_ELLIPSIS = "…"

_WIDE = frozenset("WF")
# Marks that stand on the letter before them.
_UNSPACED = frozenset({"Mn", "Me", "Cf"})
# Shows the character before it as a picture, which is wide.
_AS_PICTURE = "\ufe0f"
# Colours the picture before it.
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))


@dataclass(frozen=True, slots=True)
class Column(Generic[Item]):
    """A column of a table; ``cell`` returns what it shows of an item.

    ``narrowest`` is the width that it may be cut down to; without one it is never cut.  Where
    there is no room for all columns, those with the highest ``rank`` are left out first; those of
    rank 0 are always there.
    """

    title: str
    cell: Callable[[Item], str | None]
    rank: int = 0
    narrowest: int | None = None
    is_right: bool = False


def terminal_width() -> int | None:
    """Return how wide the terminal is that data is written to; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def format_table(columns: Sequence[Column[Item]], items: Iterable[Item]) -> str:
    """Return a line for each item; on a terminal they fit its width and have colours.

    Without items nothing is returned, not even the titles.
    """
    shown = list(items)
    if not shown:
        return ""
    return lay_out(columns, shown, width=terminal_width(), has_colours=is_coloured(sys.stdout))


def lay_out(
    columns: Sequence[Column[Item]],
    items: Iterable[Item],
    *,
    width: int | None,
    has_colours: bool,
    blank: str = "-",
) -> str:
    """Return the lines of a table, cut to ``width`` cells unless it is None.

    ``blank`` stands where there is nothing to show.
    """
    titles = [column.title for column in columns]
    rows = [[clean(column.cell(item) or blank) for column in columns] for item in items]
    widths = [max(map(count_cells, cells)) for cells in zip(titles, *rows, strict=True)]
    shown = list(range(len(columns)))
    if width is not None:
        shown = _choose_columns(columns, widths, width)
        widths = _fit_widths(columns, widths, shown, width)
    painted = paint if has_colours else lambda title, cell: cell
    lines = [_line(columns, titles, widths, shown, lambda title, cell: cell)]
    lines += [_line(columns, row, widths, shown, painted) for row in rows]
    return "\n".join(lines)


def count_cells(text: str) -> int:
    """Return the number of cells: two for wide letters and pictures, none for combining marks."""
    return len(text) if text.isascii() else sum(_widths(text))


def cut(text: str, width: int) -> str:
    """Return the text in at most so many cells; an ellipsis stands for what was cut off."""
    if count_cells(text) <= width:
        return text
    left = width - len(_ELLIPSIS)
    kept = ""
    for character, cells in zip(text, _widths(text), strict=True):
        if cells > left:
            break
        kept += character
        left -= cells
    return kept + _ELLIPSIS if width > 0 else ""


def _choose_columns(columns: Sequence[Column[Item]], widths: Sequence[int], room: int) -> list[int]:
    """Return the columns that there is room for, in their order; those of rank 0 at least.

    Once one had no room, a further one is there only if nothing is cut for it.
    """
    shown: list[int] = []
    is_full = False
    for each in sorted(range(len(columns)), key=lambda each: (columns[each].rank, each)):
        wanted = [*shown, each]
        needed = [widths[i] if is_full else _least(columns[i], widths[i]) for i in wanted]
        if _total(needed) <= room or columns[each].rank == 0:
            shown = wanted
        else:
            is_full = True
    return sorted(shown)


def _fit_widths(
    columns: Sequence[Column[Item]], widths: Sequence[int], shown: Sequence[int], room: int
) -> list[int]:
    """Return the widths, those that are shown cut as little as possible, the widest first."""
    fitted = list(widths)
    while _total([fitted[each] for each in shown]) > room:
        loose = [each for each in shown if fitted[each] > _least(columns[each], widths[each])]
        if not loose:
            break
        fitted[max(loose, key=lambda each: fitted[each])] -= 1
    return fitted


def _least(column: Column[Item], width: int) -> int:
    return width if column.narrowest is None else min(width, column.narrowest)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(
    columns: Sequence[Column[Item]],
    cells: Sequence[str],
    widths: Sequence[int],
    shown: Sequence[int],
    painted: Callable[[str, str], str],
) -> str:
    parts = []
    for each in shown:
        column, text = columns[each], cut(cells[each], widths[each])
        blanks = " " * (widths[each] - count_cells(text))
        coloured = painted(column.title, text)
        parts.append(blanks + coloured if column.is_right else coloured + blanks)
    return _GAP.join(parts).rstrip()


def _widths(text: str) -> list[int]:
    """Return the cells of each character, which may depend on the one before it."""
    widths: list[int] = []
    for character in text:
        if character == _AS_PICTURE and widths and widths[-1] == 1:
            widths.append(1)
        elif character in _SKIN_TONES and widths:
            widths.append(0)
        else:
            widths.append(_width(character))
    return widths


@lru_cache(maxsize=1024)
def _width(character: str) -> int:
    if unicodedata.category(character) in _UNSPACED:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
