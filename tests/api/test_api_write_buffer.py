"""A head and its body leave together."""

import asyncio
from typing import Any, cast

import pytest

from gpukeeper.web.server.write_buffer import WriteBuffer


class Wire:
    """A transport that takes down what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False
        self.unread = 0
        self.is_aborted = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Send."""
        self.sent.append(data)

    def close(self) -> None:
        """Close."""
        self.is_closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        """Return how many bytes nobody has read yet."""
        return self.unread

    def abort(self) -> None:
        """Close at once."""
        self.is_aborted.set()

    def get_extra_info(self, name: str) -> str:
        """Return something about the connection."""
        return f"its {name}"


@pytest.fixture
def wire() -> Wire:
    """Return what is underneath."""
    return Wire()


@pytest.fixture
async def joined(wire: Wire) -> WriteBuffer:
    """Return a transport over it."""
    return WriteBuffer(cast(Any, wire), asyncio.get_running_loop(), linger_seconds=0)


async def test_what_is_written_in_one_turn_is_sent_together(
    joined: WriteBuffer, wire: Wire
) -> None:
    joined.write(b"head ")
    joined.write(b"body")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"head body"]


async def test_what_is_flushed_is_sent_at_once_and_only_once(
    joined: WriteBuffer, wire: Wire
) -> None:
    joined.write(b"one")
    joined.flush()
    joined.write(b"two")
    assert wire.sent == [b"one"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.sent == [b"one", b"two"]


async def test_nothing_is_lost_when_it_is_closed(joined: WriteBuffer, wire: Wire) -> None:
    joined.write(b"last words")
    joined.close()
    assert (wire.sent, joined.is_closing()) == ([b"last words"], True)


async def test_in_all_else_it_is_the_transport(joined: WriteBuffer) -> None:
    assert joined.get_extra_info("peername") == "its peername"


async def test_what_nobody_reads_does_not_keep_a_closed_connection(wire: Wire) -> None:
    joined = WriteBuffer(cast(Any, wire), asyncio.get_running_loop(), linger_seconds=0)
    wire.unread = 1
    joined.close()
    await wire.is_aborted.wait()
    assert wire.is_closed
