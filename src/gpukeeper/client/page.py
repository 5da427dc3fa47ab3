"""A page of a listing, as the client returns it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gpukeeper.contract.serialization import Body, Json

Item = TypeVar("Item", bound=Body)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list; ``next_cursor`` asks for what follows and is None at the end."""

    items: tuple[Item, ...]
    raw: Json = field(repr=False)
    total: int | None = None
    next_cursor: str | None = None


def page_reader(key: str, kind: type[Item]) -> Callable[[Json], Page[Item]]:
    """Return what reads lists of such bodies that stand under ``key``."""

    def read_page(body: Json) -> Page[Item]:
        return Page(
            items=tuple(map(kind.read, body[key])),
            raw=body,
            total=body.get("total"),
            next_cursor=body.get("nextCursor"),
        )

    return read_page
