"""What Novita was asked: a log of every request, and counters per route."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

# Enough for hours of polling, and bounded: a simulator may run for weeks.
MAX_VISITS = 20_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request; ``status`` is ``None`` where no answer was given, ``fault`` names the reason.

    ``machine`` is the machine that the request named or created.
    """

    at: datetime
    route: str
    method: str
    path: str
    query: Mapping[str, str]
    status: int | None
    fault: str | None
    machine: str | None


class RequestJournal:
    """The last requests, and how many there were per route in all."""

    def __init__(self) -> None:
        self._visits: deque[RequestRecord] = deque(maxlen=MAX_VISITS)
        self._counts: Counter[str] = Counter()

    def write(self, visit: RequestRecord) -> None:
        """Add one request."""
        self._visits.append(visit)
        self._counts[visit.route] += 1

    def visits(self, *, route: str | None = None) -> tuple[RequestRecord, ...]:
        """Return the requests to ``route``, or all, oldest first."""
        return tuple(visit for visit in self._visits if route in (None, visit.route))

    def counts(self) -> dict[str, int]:
        """Return how many requests each route has had."""
        return dict(self._counts)

    def clear(self) -> None:
        """Forget all."""
        self._visits.clear()
        self._counts.clear()
