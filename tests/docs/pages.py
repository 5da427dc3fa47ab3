"""Take the fenced examples out of a page, as a program that can be run."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: str, language: str) -> list[str]:
    """Return the examples of a page that are in this language, in their order."""
    return [
        block[2] for block in _BLOCK.finditer((DOCS / page).read_text()) if block[1] == language
    ]


def program(page: str, language: str) -> str:
    """Return all examples of a page in this language as one program.

    Its lines have the numbers that they have on the page, so that an error leads there.
    """
    text, lines = (DOCS / page).read_text(), list[str]()
    for block in _BLOCK.finditer(text):
        if block[1] == language:
            first = text.count("\n", 0, block.start(2))
            lines += [""] * (first - len(lines)) + block[2].splitlines()
    assert lines, f"{page} has no example in {language}"
    return "\n".join(lines) + "\n"
