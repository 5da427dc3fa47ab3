"""Read a stream of events from an application in process, piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from starlette.types import Message

Block = dict[str, str]
Query = tuple[tuple[str, str], ...]


@dataclass
class Stream:
    """What a client of a stream sees; while ``may_read`` is not set, it reads nothing.

    ``has_ended`` is set when the application has done with it.
    """

    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    has_left: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)
    messages: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    _blocks: list[Block] = field(default_factory=list)

    async def block(self) -> Block | None:
        """Return the fields of the next block, comments under an empty name; None at the end."""
        while not self._blocks:
            message = await self.messages.get()
            for text in message.get("body", b"").decode().split("\n\n")[:-1]:
                fields = (line.partition(":") for line in text.split("\n"))
                self._blocks.append({name: value.strip() for name, _, value in fields})
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                return None
        return self._blocks.pop(0)

    async def event(self) -> Block | None:
        """Return the next block that has data; None at the end."""
        while (block := await self.block()) is not None:
            if "data" in block:
                return block
        return None

    async def receive(self) -> Message:
        """Say when the client leaves."""
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take what the application says."""
        await self.may_read.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        await self.messages.put(message)


@asynccontextmanager
async def following(
    app: FastAPI,
    *query: tuple[str, str],
    key: str | None = "correct-horse-battery",
    method: str = "GET",
    is_reading: bool = True,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Stream]:
    """Give a stream of ``/api/events``, and leave it in the end; whatever the app raises fails."""
    stream = Stream()
    if is_reading:
        stream.may_read.set()
    named = {"host": "gpukeeper.example", **(headers or {})}
    if key is not None:
        named["authorization"] = f"Bearer {key}"
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/api/events",
        "raw_path": b"/api/events",
        "query_string": urlencode(query).encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "scheme": "http",
        "server": ("gpukeeper.example", 80),
        "client": ("192.0.2.1", 1),
        "root_path": "",
        "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }

    async def serve() -> None:
        await app(scope, stream.receive, stream.send)
        stream.has_ended.set()

    serving = asyncio.create_task(serve())
    try:
        yield stream
    finally:
        stream.has_left.set()
        await serving
