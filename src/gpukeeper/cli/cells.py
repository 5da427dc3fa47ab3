"""How many cells of a terminal a text takes, and texts that are cut or filled to so many."""

import unicodedata
from functools import lru_cache

_WIDE = frozenset("WF")
# Marks that stand on the letter before them.
_UNSPACED = frozenset({"Mn", "Me", "Cf"})
_ELLIPSIS = "…"
# Shows the character before it as a picture, which is wide.
_AS_PICTURE = "\ufe0f"
# Colours the picture before it.
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))


def count_cells(text: str) -> int:
    """Return the number of cells: two for wide letters and pictures, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_widths(text))


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


def fill(text: str, width: int, *, is_right: bool = False) -> str:
    """Return the text with as many blanks as fill so many cells, after or before it."""
    blanks = " " * (width - count_cells(text))
    return blanks + text if is_right else text + blanks


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
