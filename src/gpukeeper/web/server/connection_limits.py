"""Keep slow and oversized requests from holding the process: limits of each connection."""

import re
from asyncio import TimerHandle, Transport
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.telemetry import get_logger
from gpukeeper.web.middleware import HEALTH_PATHS, SAFE_HEADERS
from gpukeeper.web.problems import KINDS, problem
from gpukeeper.web.server.admission import (
    ClientConnection,
    admission_extension,
    find_beyond_share,
    find_dispensable,
)
from gpukeeper.web.server.proxies import Proxies, network_of, read_address
from gpukeeper.web.server.root_path import path_below
from gpukeeper.web.server.write_buffer import WriteBuffer

_log = get_logger(__name__)

_NO_PROXIES = Proxies()

# What a Host header may say (RFC 9110 §7.2): a name or an address, and a port.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much a connection may ask of the process, and for how long."""

    # The longest thing in a head is a query with a cursor, or a browser's cookies for all ports.
    head_bytes: int = 64 * 1024
    # From the connection, or the first byte on one that was kept, to the end of the head.
    head: timedelta = timedelta(seconds=10)
    # Real requests have twenty headers or so; each costs time wherever one is looked for.
    head_fields: int = 200
    # From the end of the head to the end of the body, for whoever has shown a key.
    body: timedelta = timedelta(seconds=60)
    # For which an answer may wait until such a reader takes more of it.
    write: timedelta = timedelta(seconds=60)
    # The same two for strangers: all that they may send is a key.
    strange: timedelta = timedelta(seconds=10)
    # Half of the files that a process may usually have open.
    connections: int = 500
    # Beyond these, for whoever asks how the service is.
    spare: int = 20
    # Of one address (of version 6: network) that have shown no key.
    share: int = 50
    # For which more are let in while there is room: a program may connect so often at once.
    burst: timedelta = timedelta(seconds=1)
    # Requests that a client may send ahead; they come by thousands in one read.
    ahead: int = 100


def build_protocol(
    limits: ConnectionLimits = ConnectionLimits(),
    *,
    proxies: Proxies = _NO_PROXIES,
    root_path: str = "",
) -> type[HttpToolsProtocol]:
    """Return the protocol that uvicorn is to speak: HTTP/1.1 within limits.

    Connections of ``proxies`` count for the clients that these speak for; ``root_path`` is that of
    the service, for the problems that no route answers with.
    """

    class Limited(_Limited):
        _limits = limits
        _proxies = proxies
        _seen_below = root_path

    return Limited


class _Limited(HttpToolsProtocol):
    """One connection; uvicorn itself has no time limit but for idle connections.

    Its attributes beside uvicorn's: the bytes of the head that is being read (None while none
    is), the clocks of the request and of the answer, what holds the head of an answer until its
    body comes, whether the request has shown a key, and whether there is room for health only.
    """

    _limits: ConnectionLimits
    _proxies: Proxies
    _seen_below: str

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes: int | None = 0
        self._reading: TimerHandle | None = None
        self._writing: TimerHandle | None = None
        self._trailer_bytes = 0
        self._fault = "invalid_request"
        self._is_known = False
        self._is_spare = False
        self._is_proxy = False
        self.source: str | None = None
        self.since = self.loop.time()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as uvicorn
        # Whoever does not read the end of an answer is not waited for either.
        linger_seconds = self._limits.strange.total_seconds()
        self._joined = WriteBuffer(transport, self.loop, linger_seconds=linger_seconds)
        super().connection_made(self._joined)  # type: ignore[arg-type] # as good as one
        peer = read_address(self.client[0] if self.client else "")
        self._is_proxy = self._proxies.has(peer)
        self.source = None if self._is_proxy else network_of(peer)
        self._keep_to_share()
        if len(self.connections) > self._limits.connections:
            self._make_room()
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
        self._trailer_bytes = 0
        self.scope["extensions"] = admission_extension(self._admit)
        if self.is_idle():
            # A proxy sends requests of many clients over one connection.
            self._become_strange()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_bytes is not None:
            super().on_header(name, value)
            return
        # What follows a body must not pass for a header (RFC 9110 §6.5.1).
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self._limits.head_bytes:
            self._fault = "headers_too_large"
            raise GpuKeeperError(code="headers_too_large")

    def on_headers_complete(self) -> None:
        fault = self._fault_of_head()
        if fault is not None:
            self._fault = fault
            # Ends in send_400_response, before anything is asked.
            raise GpuKeeperError(code=fault)
        super().on_headers_complete()
        self._head_bytes = None
        if self._is_proxy:
            client = self._proxies.client(self.client[0] if self.client else "", self.headers)
            self.source = None if self._proxies.has(client) else network_of(client)
            self._keep_to_share()
        self._read_within(self._limits.body if self._is_known else self._limits.strange)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_reading()

    def on_response_complete(self) -> None:
        self._joined.flush()
        self.since = self.loop.time()
        if self.pipeline:
            self._become_strange()
        super().on_response_complete()
        if self._reading is not None and self._head_bytes is None:
            # The answer did not need the body, so its rest is not worth waiting for.
            self._read_within(min(self._limits.head, self._limits.strange))

    def pause_writing(self) -> None:
        super().pause_writing()
        time = self._limits.write if self._is_known else self._limits.strange
        self._writing = self.loop.call_later(time.total_seconds(), self.transport.abort)

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        # Closing would wait for a reader that has stopped to read.
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._fault)

    def _unsupported_upgrade_warning(self) -> None:
        """Stay silent: a server may ignore that a client would rather speak something else."""

    def _fault_of_head(self) -> str | None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.head_bytes or len(self.headers) > self._limits.head_fields:
            return "headers_too_large"
        hosts = [value for name, value in self.headers if name == b"host"]
        is_needed = self.parser.get_http_version() != "1.0"
        # RFC 9112 §3.2: one that names nothing may still be empty.
        if len(hosts) > 1 or (is_needed and not hosts) or not all(map(_HOST.fullmatch, hosts)):
            return "invalid_request"
        if len(self.pipeline) >= self._limits.ahead:
            return "invalid_request"
        is_crowded = self._is_spare and len(self.connections) > self._limits.connections
        path = self.url.partition(b"?")[0].decode("latin-1")
        is_for_health = (path_below(self._seen_below, path) or path) in HEALTH_PATHS
        return "too_many_connections" if is_crowded and not is_for_health else None

    def is_strange(self) -> bool:
        if self._is_known:
            return False
        if self.is_idle() or self._head_bytes is not None:
            # A proxy keeps connections, and sends no head before it has it whole.
            return not self._is_proxy
        return self._reading is not None or self._writing is not None

    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _admit(self) -> None:
        self._is_known = True
        if self._reading is not None and self._head_bytes is None:
            self._read_within(self._limits.body)

    def _become_strange(self) -> None:
        self._is_known = False
        self.since = self.loop.time()

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

    def _keep_to_share(self) -> None:
        """Close the oldest connection of the same stranger who has many."""
        found = find_beyond_share(self.source, self._others(), share=self._limits.share)
        if found is not None:
            is_burst = self.loop.time() - found.since < self._limits.burst.total_seconds()
            if not is_burst:
                self._evict(found)

    def _make_room(self) -> None:
        """Close what this may take the place of; without it, the spare room is left."""
        others = self._others()
        regular = [each for each in others if not each._is_spare]
        found = find_dispensable(regular, share=self._limits.share)
        self._is_spare = found is None
        if found is None:
            spares = [each for each in others if each._is_spare]
            found = find_dispensable(spares, share=0) if len(spares) >= self._limits.spare else None
        if found is not None:
            self._evict(found)

    def _others(self) -> list["_Limited"]:
        others = (each for each in self.connections if each is not self)
        return [each for each in others if isinstance(each, _Limited)]

    def _evict(self, found: ClientConnection) -> None:
        assert isinstance(found, _Limited)
        if found.is_strange():
            _log.warning("connection_evicted", client=found.source)
        self.connections.discard(found)
        found.transport.abort()

    def _refuse(self, code: str) -> None:
        if self.transport.is_closing():
            return
        self._stop_reading()
        client = self.client[0] if self.client else None
        _log.warning("connection_refused", code=code, client=client)
        is_in_head = self._head_bytes is not None
        if self.is_idle() if is_in_head else not self.cycle.response_started:
            self.transport.write(_answer(code, self._seen_below))
        self.transport.close()
        if not self.is_idle():
            self.cycle.disconnected = True
            self.cycle.message_event.set()


def _answer(code: str, root_path: str) -> bytes:
    """Return a problem as it goes over the wire, for requests that reach no route."""
    error = GpuKeeperError(KINDS[code].meaning, code=code)
    scope = {"type": "http", "path": "", "state": {"root_path": root_path}}
    response = problem(scope, error, headers={"Connection": "close"})
    response.headers.update(SAFE_HEADERS)
    lines = [b": ".join(each) for each in response.raw_headers]
    head = b"\r\n".join([STATUS_LINE[response.status_code].rstrip(), *lines])
    return head + b"\r\n\r\n" + bytes(response.body)
