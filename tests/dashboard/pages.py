"""Read a page as a person without scripts does: its text, its links, its forms."""

from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser

import httpx2

# What stands apart from what is before it.
_BLOCKS = frozenset({"dd", "dt", "h1", "h2", "li", "p", "span", "td", "th", "tr"})


class _Reader(HTMLParser):
    """Collect text, and every element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.texts.append(" ")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@dataclass
class Page:
    """One answer of the dashboard."""

    response: httpx2.Response

    @cached_property
    def _read(self) -> _Reader:
        reader = _Reader()
        reader.feed(self.response.text)
        return reader

    @property
    def html(self) -> str:
        """What was sent."""
        return self.response.text

    @property
    def place(self) -> str:
        """Where a redirect leads to."""
        return self.response.headers["location"]

    @cached_property
    def text(self) -> str:
        """What stands on the page, with single spaces."""
        return " ".join("".join(self._read.texts).split())

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Return the attributes of every element of this kind."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            found
            for name, found in self._read.elements
            if name == tag and wanted.items() <= found.items()
        ]

    @property
    def links(self) -> list[str]:
        """Where the page leads."""
        return [link["href"] for link in self.all("a") if "href" in link]

    @property
    def actions(self) -> list[str]:
        """Where the page's forms are posted."""
        return [form["action"] for form in self.all("form", method="post")]

    def value(self, name: str) -> str:
        """Return what stands in a field."""
        return next(
            field["value"] for field in self.all("input", name=name) if field.get("type") != "radio"
        )
