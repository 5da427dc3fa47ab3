"""A gpukeeper service for the tests of its client and of the command line: it answers by script."""

import json
from typing import Any

import httpx2

from gpukeeper.client import Client

Json = dict[str, Any]
Reply = httpx2.Response | BaseException

INSTANCE: Json = {
    "id": "ins_01k",
    "novitaId": "37d312386c80a3b9",
    "name": "trainer",
    "status": "running",
    "reason": None,
    "productName": "RTX 4090 24GB",
    "productId": "4090.16c62g",
    "region": "CN-HK-01",
    "clusterId": "cn-hongkong-1",
    "templateId": "tpl-basic",
    "imageUrl": "docker.io/acme/train:1",
    "gpuNum": 1,
    "rootfsSize": 60,
    "billingMode": "spot",
    "pricePerHour": "0.175",
    "currency": "USD",
    "labels": {"team": "vision"},
    "endpoints": [{"port": 8000, "type": "http", "url": "https://x-8000.example.com"}],
    "sshCommand": "ssh -p 62132 root@203.0.113.7",
    "createdAt": "2026-11-23T05:12:25.123Z",
    "startedAt": "2026-11-23T05:12:40.000Z",
    "runningAt": "2026-11-23T05:14:02.500Z",
    "deletedAt": None,
    "reclaimAt": None,
    "isBilling": True,
    "novitaStatus": "running",
    "observedAt": "2026-11-23T05:20:00.000Z",
    "stale": False,
    "attempts": [
        {
            "productId": "4090.16c62g",
            "region": "CN-HK-01",
            "pricePerHour": "0.175",
            "outcome": "accepted",
            "detail": None,
            "at": "2026-11-23T05:12:26.000Z",
        }
    ],
}

EVENT: Json = {
    "id": "evt_01k",
    "type": "instance.failed",
    "timestamp": "2026-11-23T05:22:30.000Z",
    "instanceId": "ins_01k",
    "data": {
        "instance": INSTANCE | {"status": "failed"},
        "previousStatus": "starting",
        "error": {"code": "startup_timeout", "message": "Not running after 600 s."},
    },
}

OFFER: Json = {
    "productId": "4090.16c62g",
    "productName": "RTX 4090 24GB",
    "clusterId": "cn-hongkong-1",
    "region": "CN-HK-01",
    "billingMode": "spot",
    "gpuNum": 2,
    "pricePerHour": "0.35",
    "currency": "USD",
    "stock": "high",
    "maxRootfsSize": 1024,
}

DELIVERY: Json = {
    "id": "dlv_01k",
    "eventId": "evt_01k",
    "eventType": "instance.running",
    "instanceId": "ins_01k",
    "url": "https://hooks.example.com/gpu",
    "status": "exhausted",
    "attemptCount": 1,
    "createdAt": "2026-11-23T05:14:03.000Z",
    "nextAttemptAt": None,
    "finishedAt": "2026-11-23T05:14:20.000Z",
    "attempts": [
        {
            "number": 1,
            "at": "2026-11-23T05:14:04.000Z",
            "durationMs": 230,
            "responseStatus": 500,
            "error": None,
            "answer": "oh\x1b[2Jno",
        }
    ],
}

ORPHAN: Json = {
    "novitaId": "ffff000011112222",
    "name": "trainer-gkabc",
    "novitaStatus": "running",
    "productName": "RTX 4090 24GB",
    "region": "CN-HK-01",
    "pricePerHour": "0.175",
    "costPerHour": {"gpuUsd": "0.175", "diskUsd": "0"},
    "createdAt": "2026-11-23T04:00:00.000Z",
    "firstSeenAt": "2026-11-23T05:00:00.000Z",
    "lastSeenAt": "2026-11-23T05:20:00.000Z",
}


class FakeService:
    """Gives the scripted answers in turn, the last one again and again, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self._replies: dict[str, list[Reply]] = {}
        # Nothing was given up, unless a test says otherwise.
        self.reply("GET /api/deliveries", {"deliveries": [], "nextCursor": None})

    def reply(self, route: str, *replies: Reply | Json) -> None:
        """Script the answers to a route such as ``GET /api/instances``; JSON means 200."""
        self._replies[route] = [
            httpx2.Response(200, json=each) if isinstance(each, dict) else each for each in replies
        ]

    def connect(self, url: str = "http://gpukeeper.test", api_key: str | None = None) -> Client:
        """Return a client that talks to this service."""
        return Client(url, api_key, transport=httpx2.MockTransport(self._handle))

    @property
    def asked(self) -> list[str]:
        """What was asked, as ``GET /path?query``."""
        return [f"{each.method} {each.url.raw_path.decode()}" for each in self.requests]

    def sent(self, index: int = -1) -> Any:
        """Return the JSON of a request."""
        return json.loads(self.requests[index].content)

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        # Every listing asks for these besides; the tests of it look at what is said of them.
        if request.url.query != b"status=exhausted&limit=1000":
            self.requests.append(request)
        replies = self._replies[f"{request.method} {request.url.raw_path.decode().split('?')[0]}"]
        reply = replies[0] if len(replies) == 1 else replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return reply


def problem(
    status: int,
    code: str,
    detail: str = "It cannot be done.",
    *,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx2.Response:
    """Return a problem as the service answers it (contract §4.4)."""
    body = {
        "type": f"https://example.com/problems#{code}",
        "title": "A title",
        "status": status,
        "detail": detail,
        "instance": "/api/instances",
        "code": code,
        "requestId": "req_7",
        **more,
    }
    return httpx2.Response(status, json=body, headers=headers or {})


class FakeTime:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        """Return the seconds since some beginning."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.pauses.append(seconds)
        self.now += seconds
