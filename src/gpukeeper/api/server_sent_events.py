"""Send a follower's events to a client until it leaves, stalls, or the service stops."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gpukeeper.service.feed import Feed, FeedEvent, Follower
from gpukeeper.telemetry import get_logger

MEDIA_TYPE = "text/event-stream"

_log = get_logger(__name__)

# How soon browsers connect again after a stream has ended: a restart takes some seconds.
_RETRY_MS = 2000


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a silent stream shows that it lives, and how long a client may leave it unread.

    Proxies close what is silent for a minute, browsers never notice by themselves.
    """

    heartbeat: timedelta = timedelta(seconds=15)
    stall: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Of which instances and types a client wants to hear; of all where none is named."""

    instance_ids: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def has(self, told: FeedEvent) -> bool:
        """Whether an event is wanted."""
        return (not self.instance_ids or told.instance_id in self.instance_ids) and (
            not self.types or told.type in self.types
        )


class EventStream(Response):
    """An answer that goes on; it ends with the client, or when the process drains."""

    media_type = MEDIA_TYPE

    def __init__(
        self, feed: Feed, *, position: int, wanted: EventFilter, pace: Pace, is_head: bool
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        # Only the headers are an ordinary answer's; the body has no length.
        del self.headers["content-length"]
        self._feed = feed
        self._position = position
        self._wanted = wanted
        self._pace = pace
        self._is_head = is_head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until something ends it."""
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving):
                task.cancel()
            await asyncio.wait((telling, leaving))
        if not telling.cancelled():
            telling.result()

    async def _tell(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if not self._is_head:
            with self._feed.following(self._position) as follower:
                await self._follow(follower, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, follower: Follower, send: Send) -> None:
        async def say(text: bytes) -> None:
            try:
                async with asyncio.timeout(self._pace.stall.total_seconds()):
                    await send({"type": "http.response.body", "body": text, "more_body": True})
            except TimeoutError as error:
                _log.warning("event_stream_stalled", position=follower.position)
                raise ClientDisconnect from error

        # With the id, a client that leaves before the first event still resumes without a gap.
        await say(b"retry: %d\n%b" % (_RETRY_MS, _heartbeat(follower)))
        loop = asyncio.get_running_loop()
        said_at = loop.time()
        while not follower.is_over:
            left = self._pace.heartbeat - timedelta(seconds=loop.time() - said_at)
            told = await follower.next(left)
            text = b"".join(map(_frame, filter(self._wanted.has, told)))
            is_silent = loop.time() - said_at >= self._pace.heartbeat.total_seconds()
            if text or is_silent:
                await say(text or _heartbeat(follower))
                said_at = loop.time()


async def _left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        continue


def _frame(told: FeedEvent) -> bytes:
    # JSON has its line ends escaped, so the data is one line.
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (told.number, told.type.encode(), told.body)


def _heartbeat(follower: Follower) -> bytes:
    """Say where the stream is: without data this is no event, but the id is remembered."""
    return b": heartbeat\nid: %d\n\n" % follower.position
