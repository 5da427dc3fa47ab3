"""The log of every request to Novita, and counters per route."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

# Enough for hours of polling, and bounded: a simulator may run for weeks.
MAX_REQUESTS = 20_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request; ``status`` is ``None`` without a response, ``fault`` names the reason.

    ``machine`` is the machine that the request named or created.
    """

    at: datetime
    route: str
    method: str
    path: str
    query: Mapping[str, str]
    status: int | None
    fault: str | None = None
    machine: str | None = None


class RequestJournal:
    """The last requests, and how many there were per route in all."""

    def __init__(self) -> None:
        self._requests: deque[RequestRecord] = deque(maxlen=MAX_REQUESTS)
        self._counts: Counter[str] = Counter()

    def write(self, record: RequestRecord) -> None:
        """Add one request."""
        self._requests.append(record)
        self._counts[record.route] += 1

    def requests(self, *, route: str | None = None) -> tuple[RequestRecord, ...]:
        """Return the requests to ``route``, or all, oldest first."""
        return tuple(record for record in self._requests if route in (None, record.route))

    def counts(self) -> dict[str, int]:
        """Return how many requests each route has had."""
        return dict(self._counts)

    def clear(self) -> None:
        """Forget all."""
        self._requests.clear()
        self._counts.clear()
