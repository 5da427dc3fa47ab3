"""Two receivers of webhooks, and one of a caller's own, that fail now and then."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from gpukeeper.webhooks.sender import Receipt
from tests.chaos.timeline import now, pass_time

HOOKS = ("https://hooks.example/one", "https://hooks.example/two")
OWN_HOOK = "https://customer.example/gpu"
# What each URL answers wrongly, as a share of all attempts.
_FAILING = {HOOKS[0]: 0.1, HOOKS[1]: 0.2, OWN_HOOK: 0.15}
_HANGS = 10.0


@dataclass(frozen=True, slots=True)
class Received:
    """One attempt as its receiver saw it."""

    url: str
    webhook_id: str
    body: bytes
    began_at: datetime
    ended_at: datetime
    is_accepted: bool


@dataclass(slots=True)
class Receiver:
    """Stands in for the sender: takes each attempt, in simulated time."""

    random: Random
    attempts: list[Received] = field(default_factory=list)

    async def send(
        self,
        *,
        url: str,
        is_trusted: bool,
        webhook_id: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Receipt:
        """Answer one attempt."""
        assert is_trusted is (url in HOOKS)
        began_at = now()
        status, error, seconds = self._answer(url)
        await pass_time(seconds)
        ended_at = now()
        is_accepted = status is not None and 200 <= status < 300
        self.attempts.append(Received(url, webhook_id, body, began_at, ended_at, is_accepted))
        retry_after = timedelta(seconds=3) if status == 429 else None
        return Receipt(ended_at, ended_at - began_at, status, error, "", retry_after)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _answer(self, url: str) -> tuple[int | None, str | None, float]:
        if self.random.random() >= _FAILING[url]:
            return 204, None, self.random.uniform(0.01, 0.5)
        status = self.random.choice((500, 503, 429, 302, 404, None))
        if status is None:
            return None, "no answer in time", _HANGS
        return status, f"HTTP {status}", self.random.uniform(0.01, 2)
