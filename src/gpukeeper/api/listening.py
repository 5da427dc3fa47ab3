"""Keep slow and oversized requests from holding the process: limits of each connection."""

from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gpukeeper.api.joining import Joined
from gpukeeper.api.problems import KINDS, problem
from gpukeeper.api.requests import SAFE_HEADERS
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.telemetry import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much a connection may ask of the process, and for how long."""

    # The longest thing in a head is a query with a cursor, or a browser's cookies for all ports.
    head_bytes: int = 64 * 1024
    # From the connection, or the first byte on one that was kept, to the end of the head.
    head: timedelta = timedelta(seconds=10)
    # From the end of the head to the end of the body.
    body: timedelta = timedelta(seconds=60)
    # For which an answer may wait until its reader takes more of it.
    write: timedelta = timedelta(seconds=60)
    # Half of the files that a process may usually have open.
    connections: int = 500


def limited(limits: ConnectionLimits = ConnectionLimits()) -> type[HttpToolsProtocol]:
    """Return the protocol that uvicorn is to speak: HTTP/1.1 within limits."""

    class Limited(_Limited):
        _limits = limits

    return Limited


class _Limited(HttpToolsProtocol):
    """One connection; uvicorn itself has no time limit but for idle connections.

    Its attributes beside uvicorn's: the bytes of the head that is being read (None while none
    is), the clocks of the request and of the answer, since when nothing is asked, and what holds
    the head of an answer until its body comes.
    """

    _limits: ConnectionLimits

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes: int | None = 0
        self._reading: TimerHandle | None = None
        self._writing: TimerHandle | None = None
        self._idle_since = self.loop.time()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn
        self._joined = Joined(transport, self.loop)
        super().connection_made(self._joined)  # type: ignore[arg-type] # as good as one
        if len(self.connections) > self._limits.connections and not self._make_room():
            self._refuse("too_many_connections")
            return
        self._read_within(self._limits.head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_reading()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_in_head = self._head_bytes is not None
        # Even line ends, which a parser skips before a request, start the clock.
        if self._reading is None:
            self._read_within(self._limits.head)
        super().data_received(data)
        # A single header may grow without an end, so that no callback sees it.
        if was_in_head and self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes:
                self._refuse("headers_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._head_bytes or 0

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.head_bytes:
            self._head_bytes = size
            raise GpuKeeperError(code="headers_too_large")
        super().on_headers_complete()
        self._head_bytes = None
        self._read_within(self._limits.body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_reading()

    def on_response_complete(self) -> None:
        self._joined.flush()
        self._idle_since = self.loop.time()
        super().on_response_complete()
        if self._reading is not None and self._head_bytes is None:
            # The answer did not need the body, so its rest is not worth waiting for.
            self._read_within(self._limits.head)

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds = self._limits.write.total_seconds()
        self._writing = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        # Closing would wait for a reader that has stopped to read.
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        is_large = (self._head_bytes or 0) > self._limits.head_bytes
        self._refuse("headers_too_large" if is_large else "invalid_request")

    def _unsupported_upgrade_warning(self) -> None:
        """Stay silent: a server may ignore that a client would rather speak something else."""

    def _read_within(self, time: timedelta) -> None:
        self._stop_reading()
        self._reading = self.loop.call_later(time.total_seconds(), self._give_up, time)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _give_up(self, time: timedelta) -> None:
        if self.flow.read_paused:
            # It is us who do not read.
            self._read_within(time)
        elif self._head_bytes == 0:
            # Browsers connect in advance, and take an answer to nothing for a fault.
            self.transport.abort()
        else:
            self._refuse("request_too_slow")

    def _make_room(self) -> bool:
        """Close the connection that has been without a request for longest, if there is one."""
        others = [each for each in self.connections if each is not self]
        idle = [each for each in others if isinstance(each, _Limited) and each._is_idle()]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each._idle_since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, code: str) -> None:
        if self.transport.is_closing():
            return
        self._stop_reading()
        client = self.client[0] if self.client else None
        _log.warning("connection_refused", code=code, client=client)
        is_in_head = self._head_bytes is not None
        if self._is_idle() if is_in_head else not self.cycle.response_started:
            self.transport.write(_answer(code))
        self.transport.close()
        if not self._is_idle():
            self.cycle.disconnected = True
            self.cycle.message_event.set()


def _answer(code: str) -> bytes:
    """Return a problem as it goes over the wire, for requests that reach no route."""
    error = GpuKeeperError(KINDS[code].meaning, code=code)
    response = problem({"type": "http", "path": ""}, error, headers={"Connection": "close"})
    response.headers.update(SAFE_HEADERS)
    lines = [b": ".join(each) for each in response.raw_headers]
    head = b"\r\n".join([STATUS_LINE[response.status_code].rstrip(), *lines])
    return head + b"\r\n\r\n" + bytes(response.body)
