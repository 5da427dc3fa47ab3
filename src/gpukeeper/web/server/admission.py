"""Decide which connection makes room for another: strangers' first, and the oldest of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from starlette.types import Scope

# Where a server leaves what is called once a request has shown a key (an extension of ASGI).
_EXTENSION = "gpukeeper.admit"


class ClientConnection(Protocol):
    """What is known of a connection.

    A stranger's is one without a key that is idle, still sending its request or not reading its
    answer; ``source`` is whom it counts for, None where a proxy has not said.  ``since`` is when
    it began to be as it is, in seconds of the event loop.
    """

    source: str | None
    since: float

    def is_strange(self) -> bool:
        """Whether it is a stranger's."""

    def is_idle(self) -> bool:
        """Whether nothing is asked on it."""


def admission_extension(admit: Callable[[], None]) -> dict[str, Any]:
    """Return the extensions of a request's scope with which :func:`admit` is told."""
    return {_EXTENSION: admit}


def admit(scope: Scope) -> None:
    """Tell the server that whoever asks has shown a key, or needs none."""
    tell = scope.get("extensions", {}).get(_EXTENSION)
    if tell is not None:
        tell()


def find_beyond_share(
    source: str | None, others: Iterable[ClientConnection], *, share: int
) -> ClientConnection | None:
    """Return the oldest connection of a source that has its share already, if it has."""
    own = [each for each in others if source is not None and each.source == source]
    strange = [each for each in own if each.is_strange()]
    return _oldest(strange) if len(strange) >= share else None


def find_dispensable(others: Sequence[ClientConnection], *, share: int) -> ClientConnection | None:
    """Return the connection that another may take the place of, if there is one.

    The oldest of strangers, of those first who have more than their share; else the one that has
    been idle for longest.
    """
    strange = [each for each in others if each.is_strange()]
    held: dict[str | None, int] = {}
    for each in strange:
        held[each.source] = held.get(each.source, 0) + 1
    greedy = [each for each in strange if each.source is not None and held[each.source] > share]
    return _oldest(greedy or strange or [each for each in others if each.is_idle()])


def _oldest(connections: Sequence[ClientConnection]) -> ClientConnection | None:
    return min(connections, key=lambda each: each.since, default=None)
