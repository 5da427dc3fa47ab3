"""Serve the simulator over HTTP: blocking for the command line, in a thread for tests."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpukeeper.simulator.novita_api.gateway import HANG_UP
from gpukeeper.simulator.novita_api.simulator_app import build_app
from gpukeeper.simulator.simulated_clock import utc_now
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import Settings

# A slow response may take minutes; a stop does not wait for it.
STOP_SECONDS = 1
# linger on, for zero seconds: closing such a socket sends a reset and not a farewell.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HangUpProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, whose connections the application may end itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Hand every request of this connection a function that ends it."""
        super().connection_made(transport)
        served = self.app

        def hang_up(*, is_reset: bool) -> None:
            if is_reset:
                connection = transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            extended = {**scope, "extensions": {HANG_UP: hang_up}}
            await served(extended, receive, send)

        self.app = app


def serve(sockets: Sequence[socket.socket], settings: Settings | None = None) -> None:
    """Serve a simulator on sockets that have an address until the process is told to stop."""
    host, port = sockets[0].getsockname()[:2]
    config = _config(build_app(settings), host=host, port=port, log_level="info")
    uvicorn.Server(config).run(sockets=list(sockets))


class Simulator:
    """A simulator in a thread of its own, for as long as the ``with`` block lasts.

    ``url`` is its base address.  ``world`` is what the server works on: hold ``world.lock`` while
    you change it, or use the admin API.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        app = build_app(settings, wall=wall)
        self.world: World = app.state.world
        self._host = host
        # Listening from the start, so that nobody needs to wait until the server is up.
        self._socket = socket.create_server((host, port))
        self._port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(_config(app, host=host, port=port, log_level="critical"))
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    @property
    def url(self) -> str:
        """The base address: what a client takes for ``https://api.novita.ai``."""
        return f"http://{self._host}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        await self._server.serve(sockets=[self._socket])
        # A client that waits for a slow response is cut off: a stop does not wait for faults.
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()


def _config(app: Starlette, *, host: str, port: int, log_level: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=HangUpProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        # The simulated gateway says what time it is, or does not.
        date_header=False,
        log_config=None,
        log_level=log_level,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
