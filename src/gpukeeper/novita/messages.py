"""One question to Novita and its answer, as plain values without I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; ``route`` names the kind of question in errors, logs and metrics.

    ``secrets`` are the texts of the body that may not be shown even if Novita echoes them.
    """

    method: str
    path: str
    route: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_change(self) -> bool:
        """Whether the request changes something, so that a lost answer may not be repeated."""
        return self.method == "POST"


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; what it says was true no earlier than ``asked_at``.

    ``headers`` are looked up in lower case.  The body may hold secrets and is never shown.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    asked_at: datetime

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx; the body may still hold an error."""
        return 200 <= self.status < 300

    @property
    def simulated_world(self) -> str | None:
        """Which world a simulator made at its start; None for Novita itself."""
        return self.headers.get("x-simulated-world")

    def parsed(self) -> object:
        """Return the body read as JSON, or ``None`` when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None
