"""Where a scheduler holds the tasks of one process, lets one of them go on, or ends them all."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import httpx2

from gpukeeper.store.db.database import Connection, Database
from gpukeeper.webhooks.sender import Receipt
from tests.engine.rig import Clock

T = TypeVar("T")

# What the client's own timeout is; no request is on its way to Novita for longer.
CALL_TIMEOUT = timedelta(seconds=30)
# The catalogue is read as often as the process likes: no harm comes of when it is.
_HELD = "/gpu/instance"


class Loop(asyncio.SelectorEventLoop):
    """An event loop that is run until nobody has anything left to do but wait."""

    scheduled = 0

    def call_soon(  # type: ignore[override]  # all arguments are handed on
        self, *arguments: Any, **options: Any
    ) -> asyncio.Handle:
        """Count whatever is going to happen."""
        self.scheduled += 1
        return super().call_soon(*arguments, **options)

    def settle(self) -> None:
        """Run until every task waits at a gate or has ended."""
        while True:
            before = self.scheduled
            super().call_soon(self.stop)
            self.run_forever()
            if self.scheduled == before:
                return


@dataclass(slots=True)
class Gate:
    """One task that waits; what is on its way to Novita gets lost at ``lost_at``."""

    where: str
    passed: asyncio.Future[bool]
    lost_at: datetime | None = None


@dataclass(slots=True)
class Gates:
    """The gates of one process, in the order in which its tasks came to them."""

    clock: Clock
    waiting: list[Gate] = field(default_factory=list)
    is_open: bool = False
    is_dead: bool = False

    async def wait(self, where: str, *, lasts: timedelta | None = None) -> bool:
        """Wait to be let go on; False when it took longer than it may last."""
        if self.is_dead:
            raise asyncio.CancelledError
        if self.is_open:
            return True
        lost_at = self.clock() + lasts if lasts else None
        gate = Gate(where, asyncio.get_running_loop().create_future(), lost_at)
        self.waiting.append(gate)
        try:
            return await gate.passed
        finally:
            self.waiting.remove(gate)

    def let_go(self, index: int) -> None:
        """Let one task go on."""
        passed = self.waiting[index % len(self.waiting)].passed
        if not passed.done():
            passed.set_result(True)

    def lose(self, now: datetime) -> None:
        """Let whatever has been on its way for too long be lost."""
        for gate in self.waiting:
            if gate.lost_at is not None and gate.lost_at <= now and not gate.passed.done():
                gate.passed.set_result(False)

    def open(self) -> None:
        """Hold nobody any more."""
        self.is_open = True
        for index in range(len(self.waiting)):
            self.let_go(index)

    def kill(self) -> None:
        """End every task where it is."""
        self.is_dead = True
        for gate in self.waiting:
            gate.passed.cancel()


@dataclass(slots=True)
class Store:
    """The real store without its threads: a unit is held before its transaction and after it."""

    database: Database
    gates: Gates
    is_shared: bool = False

    def on_trouble(self, tell: object) -> None:
        """Never be in trouble."""

    async def write(self, unit: Callable[[Connection], T]) -> T:
        """Do what the real one does."""
        await self.gates.wait("write")
        result = self._run(unit)
        await self.gates.wait("written")
        return result

    async def read(self, unit: Callable[[Connection], T]) -> T:
        """Do what the real one does."""
        await self.gates.wait("read")
        return self._run(unit)

    async def read_kept(self, key: Hashable, unit: Callable[[Connection], T], **_: int) -> T:
        """Keep nothing."""
        return await self.read(unit)

    def _run(self, unit: Callable[[Connection], T]) -> T:
        with self.database.engine.begin() as connection:
            return unit(connection)


class Wire(httpx2.AsyncBaseTransport):
    """The way to the simulator and back: held on both, and lost if it takes too long.

    What was sent takes effect even if its sender dies or stops waiting meanwhile, unless
    ``is_swallowed`` says that it got lost before.
    """

    def __init__(self, app: Any, gates: Gates, is_swallowed: Callable[[], bool]) -> None:
        self._inner = httpx2.ASGITransport(app=app)
        self._gates = gates
        self._is_swallowed = is_swallowed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Carry a request there and its answer back."""
        if _HELD not in request.url.path:
            return await self._ask(request)
        if not await self._gates.wait("call", lasts=CALL_TIMEOUT):
            if not self._is_swallowed():
                await self._ask(request)
            raise httpx2.ReadTimeout("no answer", request=request)
        response = await self._ask(request)
        await self._gates.wait("answer")
        return response

    async def _ask(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._inner.handle_async_request(request)
        except ConnectionResetError as error:
            raise httpx2.ReadError(str(error), request=request) from error


@dataclass(slots=True)
class Receiver:
    """Takes the webhooks of every process; the next answers are those in ``script``."""

    clock: Clock
    script: list[int | None] = field(default_factory=list)
    accepted: list[tuple[str, str]] = field(default_factory=list)

    def take(self, url: str, webhook_id: str) -> Receipt:
        """Answer one webhook, 204 unless scripted; None is no answer."""
        status = self.script.pop() if self.script else 204
        if status is not None and status < 300:
            self.accepted.append((url, webhook_id))
        error = "no answer" if status is None else None
        return Receipt(self.clock(), timedelta(milliseconds=5), status, error, "")


@dataclass(slots=True)
class Sender:
    """Posts webhooks: held before the receiver has one, and before its answer is known."""

    receiver: Receiver
    gates: Gates

    async def send(
        self,
        *,
        url: str,
        is_trusted: bool,
        webhook_id: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Receipt:
        """Do what the real one does."""
        await self.gates.wait("post")
        receipt = self.receiver.take(url, webhook_id)
        await self.gates.wait("posted")
        return receipt


def as_database(store: Store) -> Database:
    """Return a store as what the engine takes it for."""
    return cast(Database, store)
