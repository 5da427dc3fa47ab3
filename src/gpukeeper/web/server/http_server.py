"""The HTTP server: it begins to listen, and ends, when the process says so."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from gpukeeper.nudges import Nudges
from gpukeeper.port_check import build_listen_error


class Server(uvicorn.Server):
    """A server whose waiting requests answer at once when it is told to stop."""

    def __init__(self, nudges: Nudges, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._nudges = nudges

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; raises CannotListen when somebody else does so since a moment ago."""
        try:
            for each in sockets or ():
                # Before uvloop does: it says nothing when another process was faster, and two
                # services would stand at one address of which one is never reached.
                each.listen(self.config.backlog)
        except OSError as error:
            host, port = self.config.host, self.config.port
            raise build_listen_error(host, port, error, setting="GPUKEEPER_PORT") from error
        await super().startup(sockets)
        self._log_started_message(sockets or ())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Waiters see it within half a second, well within the grace.
        self._nudges.drain()
        super().handle_exit(sig, frame)


@contextmanager
def stop_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let signals stop the server and leave the end of the process to the drain.

    SIGHUP, which says that a terminal is gone, is one of them unless it is ignored (``nohup``).

    Once it has stopped, uvicorn raises the signals that it caught again for the handlers before
    its own; the system's would end the process there and then.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        server.handle_exit(number, frame)

    heeded = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heeded.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
