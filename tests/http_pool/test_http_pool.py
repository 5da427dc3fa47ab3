"""Which connection a request gets, and what becomes of it afterwards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest

from gpukeeper.http_pool import HttpPool

KEEP_ALIVE_SECONDS = 5.0


@dataclass(eq=False)
class Fake(httpx2.AsyncBaseTransport):
    """Answers with its number; ``fault`` is raised instead, and ``gate`` waited for before."""

    number: int
    fault: BaseException | None = None
    gate: asyncio.Event | None = None
    asked: int = 0
    closed: int = 0
    unread: list["Body"] = field(default_factory=list)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.unread.append(Body())
        return httpx2.Response(200, headers={"number": str(self.number)}, stream=self.unread[-1])

    async def aclose(self) -> None:
        self.closed += 1


class Body(httpx2.AsyncByteStream):
    """A body that knows whether it was closed."""

    is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"body"

    async def aclose(self) -> None:
        self.is_closed = True


class Place:
    """Somewhere to connect to, with a clock that is set by hand."""

    def __init__(self, **options: float) -> None:
        self.now = 0.0
        self.made: list[Fake] = []
        self.gate: asyncio.Event | None = None
        self.fault: BaseException | None = None
        self.pool = HttpPool(
            self._build,
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
            clock=lambda: self.now,
            **options,  # type: ignore[arg-type] # a test's own options
        )

    def _build(self) -> Fake:
        self.made.append(Fake(len(self.made), self.fault, self.gate))
        return self.made[-1]

    async def ask(self) -> int:
        """Send a request and return the number of the connection that it got."""
        request = httpx2.Request("GET", "http://place.example/")
        async with self.pool.ask(request) as response:
            return int(response.headers["number"])

    @property
    def closed(self) -> list[int]:
        """How often each connection was closed."""
        return [connection.closed for connection in self.made]


async def test_a_connection_is_used_again_once_its_answer_is_closed() -> None:
    place = Place()
    assert [await place.ask(), await place.ask()] == [0, 0]
    assert [body.is_closed for body in place.made[0].unread] == [True, True]
    assert place.closed == [0]


async def test_no_connection_serves_two_requests_at_a_time_and_the_last_one_is_used_first() -> None:
    place = Place()
    request = httpx2.Request("GET", "http://place.example/")
    async with place.pool.ask(request):
        assert await place.ask() == 1
    assert [await place.ask(), await place.ask()] == [0, 0]


async def test_connections_that_were_idle_for_too_long_are_closed_by_the_next_request() -> None:
    place = Place()
    request = httpx2.Request("GET", "http://place.example/")
    async with place.pool.ask(request):
        await place.ask()
        place.now += 3
    place.now += 3
    assert await place.ask() == 0
    assert place.closed == [0, 1]
    place.now += KEEP_ALIVE_SECONDS + 1
    assert await place.ask() == 2
    assert place.closed == [1, 1, 0]


@pytest.mark.parametrize("fault", [httpx2.ReadError("reset"), ValueError()])
async def test_a_connection_that_failed_is_not_used_again(fault: Exception) -> None:
    place = Place()
    place.fault = fault
    with pytest.raises(type(fault)):
        await place.ask()
    place.fault = None
    assert await place.ask() == 1
    assert place.closed == [1, 0]


async def test_a_connection_whose_answer_was_given_up_is_not_used_again() -> None:
    place = Place()
    request = httpx2.Request("GET", "http://place.example/")
    with pytest.raises(ValueError, match="unreadable"):
        async with place.pool.ask(request):
            raise ValueError("unreadable")
    assert place.made[0].unread[0].is_closed
    assert await place.ask() == 1
    assert place.closed == [1, 0]


async def test_a_request_that_is_cancelled_closes_its_connection_and_leaves_its_turn() -> None:
    place = Place(limit=1)
    place.gate = asyncio.Event()
    task = asyncio.create_task(place.ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    place.gate = None
    assert await place.ask() == 1
    assert place.closed == [1, 0]


async def test_beyond_the_limit_a_request_waits_for_a_connection() -> None:
    place = Place(limit=2)
    place.gate = asyncio.Event()
    tasks = [asyncio.create_task(place.ask()) for _ in range(5)]
    await asyncio.sleep(0)
    assert len(place.made) == 2
    place.gate.set()
    assert {await task for task in tasks} == {0, 1}
    assert len(place.made) == 2


async def test_whoever_waits_in_vain_is_told_that_nothing_was_sent() -> None:
    place = Place(limit=1, patience_seconds=0)
    request = httpx2.Request("GET", "http://place.example/")
    async with place.pool.ask(request):
        with pytest.raises(httpx2.PoolTimeout):
            await place.ask()
    assert place.made[0].asked == 1
    assert await place.ask() == 0


async def test_all_connections_are_closed_and_the_one_in_use_is_not_kept() -> None:
    place = Place()
    request = httpx2.Request("GET", "http://place.example/")
    async with place.pool.ask(request):
        await place.ask()
        await place.pool.aclose()
        assert place.closed == [1, 1]
    await place.pool.aclose()
    await place.ask()
    assert [connection.closed > 0 for connection in place.made] == [True, True, True]
