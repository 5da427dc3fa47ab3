"""The network between the engine and the simulator: it takes time, breaks, and outlives clients."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import httpx2

from gpukeeper.simulator.novita_api.gateway import HANG_UP
from tests.chaos.timeline import pass_time

# Simulated seconds from the client to Novita, and back.
_ONE_WAY = (0.02, 0.3)


class Wire(httpx2.AsyncBaseTransport):
    """Carries requests to an ASGI application as a network does.

    A request goes on at the other end when its client has left: what it does there, it does late.
    ``refused`` is the share of connections that cannot be made; ``counts`` says what happened.
    """

    def __init__(self, app: Any, random: Random, *, refused: float) -> None:
        self.refused = refused
        self.counts: Counter[str] = Counter()
        self._app = app
        self._random = random
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer, or raise what a broken connection raises."""
        self.counts["calls"] += 1
        await pass_time(self._random.uniform(*_ONE_WAY))
        if self._random.random() < self.refused:
            self.counts["refused"] += 1
            raise httpx2.ConnectError("connection refused", request=request)
        exchange = _Exchange(request, await request.aread())
        task = asyncio.create_task(exchange.run(self._app))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            answer = await asyncio.shield(exchange.answer)
        except asyncio.CancelledError:
            self.counts["abandoned"] += 1
            exchange.left.set()
            raise
        await pass_time(self._random.uniform(*_ONE_WAY))
        return answer


class _Exchange:
    """One request at Novita's end."""

    def __init__(self, request: httpx2.Request, body: bytes) -> None:
        self.answer: asyncio.Future[httpx2.Response] = asyncio.get_running_loop().create_future()
        self.left = asyncio.Event()
        self._request = request
        self._unread: bytes | None = body
        self._start: dict[str, Any] = {}
        self._sent = b""

    async def run(self, app: Any) -> None:
        """Let the application answer; an error of its own is the client's to see."""
        url = self._request.url
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path,
            "query_string": url.query,
            "server": (url.host, 80),
            "client": ("client", 1),
            "root_path": "",
            "extensions": {HANG_UP: self._hang_up},
        }
        try:
            await app(scope, self._receive, self._send)
        finally:
            if not self.answer.done() and not self.left.is_set():
                self.answer.set_exception(AssertionError("the simulator gave no answer"))

    async def _receive(self) -> dict[str, Any]:
        if self._unread is not None:
            body, self._unread = self._unread, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._sent += message.get("body", b"")
        if not message.get("more_body") and not self.left.is_set():
            self.answer.set_result(
                httpx2.Response(
                    self._start["status"], headers=self._start["headers"], content=self._sent
                )
            )

    def _hang_up(self, *, is_reset: bool) -> None:
        if self.left.is_set():
            return
        kind = httpx2.ReadError if is_reset else httpx2.RemoteProtocolError
        self.answer.set_exception(kind("the connection was ended", request=self._request))
        self.left.set()
