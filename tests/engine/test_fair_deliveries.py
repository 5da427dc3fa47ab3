"""Receivers that hang hold their share of the workers; the clock stands still for all others."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import cast

import pytest

from gpukeeper.domain.fairness import PER_PROMPT, PER_SLOW, receiver_of
from gpukeeper.engine.deliver import Deliverer
from gpukeeper.runtime.loops import WEBHOOK_WORKERS
from gpukeeper.store.db.database import Connection
from gpukeeper.store.outbox import Outbox
from gpukeeper.webhooks.sender import Receipt, Sender
from tests.engine.rig import EPOCH, Clock, Rig

TIMEOUT = timedelta(seconds=10)
GOOD = [f"https://good-{number}.example/hook" for number in range(9)]


@dataclass(slots=True)
class Hanging:
    """A sender whose attempts at some receivers last until they are timed out.

    ``delivered`` holds every URL that was reached, once per attempt.
    """

    clock: Clock
    dead: set[str]
    under_way: Counter[str] = field(default_factory=Counter)
    delivered: list[str] = field(default_factory=list)
    time_out: asyncio.Event = field(default_factory=asyncio.Event)
    # Set whenever an attempt begins to hang, or a worker is free.
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(
        self,
        *,
        url: str,
        is_trusted: bool,
        webhook_id: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Receipt:
        at = self.clock()
        if receiver_of(url) not in self.dead:
            self.delivered.append(url)
            return Receipt(at, timedelta(milliseconds=5), 204, None, "")
        self.under_way[receiver_of(url)] += 1
        self.progress.set()
        await self.time_out.wait()
        self.under_way[receiver_of(url)] -= 1
        return Receipt(at, TIMEOUT, None, "timed out after 10 s", "")

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Scene:
    """A deliverer, the sender that it uses, and a queue in the store."""

    rig: Rig
    sender: Hanging
    deliverer: Deliverer

    async def queue(self, urls: Iterable[str], *, times: int = 1) -> None:
        """Store deliveries to these URLs, each in a lane of its own."""
        outbox: Outbox = self.rig.engine.sweep.outbox
        receivers = [(url, False) for url in urls]

        def add(connection: Connection) -> None:
            for _ in range(times):
                outbox.record_test(connection, receivers, self.rig.clock())

        await self.rig.database.write(add)

    async def work(self) -> None:
        """Do everything that can be done without the clock moving on."""
        before = -1
        while before != len(self.sender.delivered):
            before = len(self.sender.delivered)
            await self.deliverer.turn()
            while len(self.deliverer.workers.held) > self.sender.under_way.total():
                self.sender.progress.clear()
                self.deliverer.workers.call_when_free()
                await self.sender.progress.wait()

    async def give_up(self) -> None:
        """Let every attempt that hangs reach its timeout."""
        self.rig.clock.at += TIMEOUT
        self.sender.time_out.set()
        await self.deliverer.workers.drain(timedelta(minutes=1))
        self.sender.time_out.clear()


@pytest.fixture
def scene(rig: Rig) -> Scene:
    sender = Hanging(rig.clock, set())
    deliverer = replace(rig.engine.deliverer, sender=cast(Sender, sender))
    deliverer.workers.on_free = sender.progress.set
    return Scene(rig, sender, deliverer)


async def test_of_ten_thousand_deliveries_a_dead_tenth_delays_none_of_the_others(
    scene: Scene, kind: str
) -> None:
    # A thousand of them on PostgreSQL, which takes its time over each.
    times = {"sqlite": 1000, "postgres": 100}[kind]
    dead = "https://dead.example/hook"
    scene.sender.dead = {receiver_of(dead)}
    await scene.queue([dead, *GOOD], times=times)
    await scene.work()
    assert Counter(scene.sender.delivered) == dict.fromkeys(GOOD, times)
    assert scene.rig.clock() == EPOCH
    assert scene.sender.under_way == {"dead.example:443": PER_SLOW}
    await scene.give_up()


async def test_a_receiver_that_begins_to_hang_holds_no_more_than_its_share(scene: Scene) -> None:
    dies = "https://dies.example/hook"
    await scene.queue([dies, *GOOD], times=2)
    await scene.work()
    scene.sender.dead = {receiver_of(dies)}
    await scene.queue([dies, *GOOD], times=200)
    await scene.work()
    assert list(scene.sender.under_way) == ["dies.example:443"]
    assert PER_PROMPT < scene.sender.under_way.total() <= WEBHOOK_WORKERS // 4
    assert Counter(scene.sender.delivered) == dict.fromkeys(GOOD, 202) | {dies: 2}
    await scene.give_up()
    await scene.work()
    assert scene.sender.under_way == {"dies.example:443": PER_SLOW}
    await scene.give_up()


async def test_a_dead_host_with_many_urls_holds_the_share_of_one_receiver(scene: Scene) -> None:
    urls = [f"https://dead.example/hook?id={number}" for number in range(100)]
    scene.sender.dead = {receiver_of(urls[0])}
    await scene.queue(urls, times=8)
    await scene.queue(GOOD, times=20)
    await scene.work()
    assert scene.sender.under_way == {"dead.example:443": PER_SLOW}
    assert Counter(scene.sender.delivered) == dict.fromkeys(GOOD, 20)
    await scene.give_up()


async def test_a_fleet_of_dead_receivers_leaves_half_of_the_workers_to_prompt_ones(
    scene: Scene,
) -> None:
    await scene.queue(GOOD)
    await scene.work()
    fleet = [f"https://dead-{number}.example/" for number in range(300)]
    scene.sender.dead = set(map(receiver_of, fleet))
    await scene.queue(fleet, times=4)
    await scene.queue(GOOD, times=20)
    await scene.work()
    assert Counter(scene.sender.delivered) == dict.fromkeys(GOOD, 21)
    assert scene.sender.under_way.total() == WEBHOOK_WORKERS // 2
    # What is due and held up is not waited for: the loop rests until a worker is free.
    assert await scene.deliverer.turn() is None
    await scene.give_up()


async def test_a_receiver_that_comes_back_gets_everything_that_is_due(scene: Scene) -> None:
    url = "https://back.example/hook"
    scene.sender.dead = {receiver_of(url)}
    await scene.queue([url], times=50)
    await scene.work()
    await scene.give_up()
    scene.sender.dead = set()
    scene.rig.clock.at += timedelta(minutes=1)
    await scene.work()
    assert scene.sender.delivered == [url] * 50


async def test_only_so_many_prompt_receivers_are_remembered(scene: Scene) -> None:
    receivers = scene.deliverer.receivers
    for number in range(1001):
        receivers.learn(f"https://host-{number}.example/", took=timedelta(0))
    room = receivers.room(workers=256, free=256)
    assert len(room.prompt) == 1000
    assert "host-0.example:443" not in room.prompt
    assert "host-1000.example:443" in room.prompt
