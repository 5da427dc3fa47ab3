"""Tables for people: whole where a program reads them, and fitted to the width of a terminal."""

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gpukeeper.cli.cells import count_cells, cut, fill
from gpukeeper.cli.terminal.output import clean, is_coloured, paint

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    ``narrowest`` is the width that it may be cut down to; without one it is never cut.  Where
    there is no room for all columns, those with the highest ``rank`` are left out first; those of
    rank 0 are always there.
    """

    title: str
    rank: int = 0
    narrowest: int | None = None
    is_right: bool = False


def terminal_width() -> int | None:
    """Return how wide the terminal is that data is written to; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(columns: Sequence[Column], rows: Iterable[Sequence[str | None]]) -> str:
    """Return rows under their columns; on a terminal they fit its width and have colours.

    Without rows nothing is returned, not even the columns.
    """
    cells = [[clean(cell or "-") for cell in row] for row in rows]
    if not cells:
        return ""
    return lay_out(columns, cells, width=terminal_width(), has_colours=is_coloured(sys.stdout))


def lay_out(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None,
    has_colours: bool,
) -> str:
    """Return the lines of a table, cut to ``width`` cells unless it is None."""
    titles = [column.title for column in columns]
    widths = [max(map(count_cells, cells)) for cells in zip(titles, *rows, strict=True)]
    shown = list(range(len(columns)))
    if width is not None:
        shown = _with_room(columns, widths, width)
        widths = _fitted(columns, widths, shown, width)
    painted = paint if has_colours else lambda title, cell: cell
    lines = [_line(columns, titles, widths, shown, lambda title, cell: cell)]
    lines += [_line(columns, row, widths, shown, painted) for row in rows]
    return "\n".join(lines)


def _with_room(columns: Sequence[Column], widths: Sequence[int], available: int) -> list[int]:
    """Return the columns that there is room for, in their order; those of rank 0 at least.

    Once one had no room, a further one is there only if nothing is cut for it.
    """
    shown: list[int] = []
    is_full = False
    for each in sorted(range(len(columns)), key=lambda each: (columns[each].rank, each)):
        wanted = [*shown, each]
        needed = _total(
            [
                widths[every] if is_full else _least(columns[every], widths[every])
                for every in wanted
            ]
        )
        if needed <= available or columns[each].rank == 0:
            shown = wanted
        else:
            is_full = True
    return sorted(shown)


def _fitted(
    columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int], available: int
) -> list[int]:
    """Return the widths, those that are shown cut as little as possible, the widest first."""
    fitted = list(widths)
    while _total([fitted[each] for each in shown]) > available:
        loose = [each for each in shown if fitted[each] > _least(columns[each], widths[each])]
        if not loose:
            break
        fitted[max(loose, key=lambda each: fitted[each])] -= 1
    return fitted


def _least(column: Column, width: int) -> int:
    return width if column.narrowest is None else min(width, column.narrowest)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(
    columns: Sequence[Column],
    cells: Sequence[str],
    widths: Sequence[int],
    shown: Sequence[int],
    painted: Callable[[str, str], str],
) -> str:
    parts = []
    for each in shown:
        column, text = columns[each], cut(cells[each], widths[each])
        blanks = fill("", widths[each] - count_cells(text))
        coloured = painted(column.title, text)
        parts.append(blanks + coloured if column.is_right else coloured + blanks)
    return _GAP.join(parts).rstrip()
