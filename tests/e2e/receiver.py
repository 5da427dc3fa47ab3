"""A webhook receiver on loopback that keeps every request with the time of its arrival."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.waiting import eventually


@dataclass(frozen=True, slots=True)
class Hook:
    """One request; ``arrived_at`` is in seconds of the monotonic clock."""

    arrived_at: float
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        """What happened."""
        return str(self.json["type"])

    @property
    def instance_id(self) -> str | None:
        """Whom it happened to."""
        instance_id: str | None = self.json["data"].get("instance", {}).get("id")
        return instance_id


def accept(hook: Hook) -> int:
    """Answer as a receiver does that took the webhook."""
    return 204


@dataclass(slots=True)
class Receiver:
    """What was received; ``answer`` says with which status a request is answered."""

    url: str
    answer: Callable[[Hook], int] = accept
    _hooks: list[Hook] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, hook: Hook) -> int:
        """Keep a request and return the status of its answer."""
        with self._lock:
            self._hooks.append(hook)
        return self.answer(hook)

    def hooks(
        self, instance_id: str | None = None, *, type: str | None = None, path: str | None = None
    ) -> list[Hook]:
        """Return the requests about an instance, of a type, at a path, in order of arrival."""
        with self._lock:
            hooks = list(self._hooks)
        return [
            hook
            for hook in hooks
            if instance_id in (None, hook.instance_id)
            and type in (None, hook.type)
            and path in (None, hook.path)
        ]

    def wait_for(self, instance_id: str, type: str) -> Hook:
        """Return the first request that tells this of an instance."""
        what = f"{type} of {instance_id}"
        return eventually(lambda: self.hooks(instance_id, type=type), what)[0]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive webhooks for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = self.rfile.read(length)
            if len(body) < length:
                # Its sender died in the middle of it.
                self.close_connection = True
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = receiver.take(Hook(time.monotonic(), self.path, headers, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="receiver")
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
