"""Send the head and the body of an answer together.

The server writes them one after the other, and the event loop sends each at once: that is twice
the cost of sending, and the reader wakes up for a head without its body.
"""

from asyncio import AbstractEventLoop, Transport
from typing import Any


class WriteBuffer:
    """A transport that sends together what is written in one turn of the event loop.

    It is a :class:`asyncio.Transport` in all else.  What is left when it is closed is sent within
    ``linger_seconds``, or not at all.
    """

    def __init__(
        self, transport: Transport, loop: AbstractEventLoop, *, linger_seconds: float
    ) -> None:
        self._linger_seconds = linger_seconds
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send this by the end of the turn, or with the next :meth:`flush`."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)

    def flush(self) -> None:
        """Send what has been written."""
        held, self._held = self._held, []
        # The reader may have left since.
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Close the connection once all is sent."""
        self.flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(self._linger_seconds, self._transport.abort)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
