"""One admin route: a path, a sentence, and an effect on the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpukeeper.simulator.simulated_world import World

PREFIX = "/_sim"


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """One admin request: its path, query and body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """One admin route, and its sentence."""

    method: str
    path: str
    does: str
    perform: Callable[[World, AdminRequest], object]


# Method, path after the prefix, sentence, and effect.
RouteRow = tuple[str, str, str, Callable[[World, AdminRequest], object]]


def as_list(body: object) -> list[Any]:
    """Return a list as it is and a single thing as a list of one."""
    return body if isinstance(body, list) else [body]
