"""Callers who order, stop and delete, and repeat whatever was not answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event
from typing import Any

import httpx2

from tests.e2e.serving import API_KEY, ORDER
from tests.e2e.waiting import pause

# A service that is just being restarted is asked again this soon.
_PAUSE_SECONDS = 0.05
_TIMEOUT_SECONDS = 30
# Most machines are deleted again, so that there is always something of everything under way.
_WISHES = ("delete", "delete", "delete", "stop", "nothing")


@dataclass(slots=True)
class Client:
    """One caller; ``ordered`` are the instances whose orders were acknowledged.

    ``url`` says whom to ask next, and ``passing`` are the statuses that only mean "ask again".
    """

    number: int
    url: Callable[[], str]
    is_over: Event
    passing: frozenset[int] = frozenset()
    ordered: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    http: httpx2.Client = field(
        default_factory=lambda: httpx2.Client(trust_env=False, timeout=_TIMEOUT_SECONDS)
    )

    def work(self) -> list[str]:
        """Order one after the other until it is over; return what was answered wrongly."""
        random = Random(self.number)
        with self.http:
            while not self.is_over.is_set():
                self._live(random)
        return self.complaints

    def _live(self, random: Random) -> None:
        key = f"client-{self.number}-{len(self.ordered)}"
        instance_id = self._order(key)
        self.ordered.append(instance_id)
        if random.random() < 0.3 and self._order(key) != instance_id:
            self.complaints.append(f"{key} gave two instances")
        self._wish(random.choice(_WISHES), instance_id)

    def _order(self, key: str) -> str:
        body = ORDER | {"name": key}
        answer = self._insist("POST", "/api/instances", {201, 202}, json=body, key=key)
        return str(answer.json()["id"])

    def _wish(self, wish: str, instance_id: str) -> None:
        path = f"/api/instances/{instance_id}"
        if wish == "delete":
            self._insist("DELETE", path, {202})
        elif wish == "stop":
            # What is coming up may be stopped, what was stopped by a lost request may not.
            self._insist("POST", f"{path}/stop", {202, 409})

    def _insist(
        self, method: str, path: str, expected: set[int], *, json: Any = None, key: str = ""
    ) -> httpx2.Response:
        """Ask until there is an answer that was to be expected."""
        headers = {"authorization": f"Bearer {API_KEY}"}
        if key:
            headers["idempotency-key"] = key
        while True:
            try:
                answer = self.http.request(method, self.url() + path, json=json, headers=headers)
            except httpx2.TransportError:
                pause(_PAUSE_SECONDS)
                continue
            if answer.status_code in expected:
                return answer
            if answer.status_code in self.passing:
                pause(_PAUSE_SECONDS)
                continue
            self.complaints.append(f"{method} {path}: {answer.status_code} {answer.text}")
            if self.is_over.is_set():
                return answer
            pause(_PAUSE_SECONDS)
