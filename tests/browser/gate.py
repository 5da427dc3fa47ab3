"""A proxy that can be shut, in front of the service of a browser's test."""

import socket
import threading
from contextlib import suppress

_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


class Gate:
    """A proxy in front of the service; while it is shut, it answers 502 in its place."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").rpartition(":")
        self._target = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.refused: list[str] = []
        self._is_shut = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Break every connection off and answer 502 from now on."""
        self._is_shut = True
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Pass everything on again."""
        self._is_shut = False

    def close(self) -> None:
        """Stop for good."""
        self.shut()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._server.accept()
                threading.Thread(target=self._serve, args=[caller], daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, suppress(OSError):
            first = caller.recv(65536)
            if self._is_shut:
                self.refused.append(first.decode("latin-1").partition("\r\n")[0])
                caller.sendall(_BAD_GATEWAY)
                return
            with socket.create_connection(self._target) as service:
                self._open += [caller, service]
                service.sendall(first)
                back = threading.Thread(target=_pump, args=[service, caller], daemon=True)
                back.start()
                _pump(caller, service)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
