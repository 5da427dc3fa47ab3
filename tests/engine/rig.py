"""A whole engine on a real database and the simulator, with one clock that a test moves."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import httpx2
from pydantic import SecretStr

from gpukeeper.config import Secrets, Settings
from gpukeeper.config import load as load_settings
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import EventType
from gpukeeper.domain.instances import Instance, Order, Status
from gpukeeper.novita.client import NovitaClient
from gpukeeper.runtime import OpenStore, Outside, Role, assemble
from gpukeeper.runtime.loops import Engine
from gpukeeper.service import Service
from gpukeeper.service.health import Vitals, examine_health
from gpukeeper.simulator.machines.interventions import ActionDetails, perform_action
from gpukeeper.simulator.machines.scripted_fates import Fate
from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.novita_api.simulator_app import build_app as build_simulator
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import PHASE_SECONDS
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import deliveries, facts, instances, migrations
from gpukeeper.store import events as history
from gpukeeper.store.db.database import Database, sqlite_url
from gpukeeper.webhooks.sender import Receipt, Sender
from tests import invariants

DEPLOYMENT = "te5t"
STORE = "test.db"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
HOOK = "https://hooks.example/all"
ORDER = Order(name="trainer", product_name="RTX 4090 24GB", template_id="tpl-basic")
SECRETS = Secrets((), SecretStr("A" * 43 + "="))
# A boot of about a minute, the same for every machine.
QUICK = {
    **PHASE_SECONDS,
    "pending": (1, 1),
    "toCreate": (1, 1),
    "creating": (4, 4),
    "pulling": (40, 40),
    "starting": (4, 4),
}
# Work that one moment can hold before a test has to be told that it never ends.
_ROUNDS = 200


@dataclass(slots=True)
class Clock:
    """Time as a value."""

    at: datetime = EPOCH

    def __call__(self) -> datetime:
        return self.at


class _Wire(httpx2.AsyncBaseTransport):
    """The simulator in process; a connection that it ends breaks as one over a network does."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx2.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self._inner.handle_async_request(request)
        except ConnectionResetError as error:
            raise httpx2.ReadError(str(error), request=request) from error


@dataclass(slots=True)
class Receiver:
    """Takes webhooks as a receiver would; ``answer`` says what it answers to a URL.

    ``sent`` holds every attempt as URL, id and body; ``bodies`` those that were accepted;
    ``traceparents`` where each attempt said that it belongs.
    """

    clock: Clock
    answer: Callable[[str], int | None] = lambda url: 204
    bodies: list[tuple[str, str, bytes]] = field(default_factory=list)
    sent: list[tuple[str, str, bytes]] = field(default_factory=list)
    traceparents: list[str | None] = field(default_factory=list)

    async def send(
        self,
        *,
        url: str,
        is_trusted: bool,
        webhook_id: str,
        body: bytes,
        traceparent: str | None = None,
    ) -> Receipt:
        status = self.answer(url)
        self.sent.append((url, webhook_id, body))
        self.traceparents.append(traceparent)
        if status is not None and 200 <= status < 300:
            self.bodies.append((url, webhook_id, body))
        error = "no answer" if status is None else None
        return Receipt(self.clock(), timedelta(milliseconds=5), status, error, "")

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Rig:
    """The world of one test."""

    clock: Clock
    world: World
    simulator: Any
    novita: NovitaClient
    database: Database
    service: Service
    engine: Engine
    receiver: Receiver
    settings: Settings
    directory: Path

    async def order(self, order: Order = ORDER, **changes: Any) -> Instance:
        """Order and let the engine work; return the instance, whatever became of it."""
        asked = asyncio.create_task(self.service.order(replace(order, **changes)))
        while not asked.done():
            await self.work()
            await asyncio.sleep(0)
        return (await asked).instance

    async def work(self) -> None:
        """Do everything that is due now."""
        for _ in range(_ROUNDS):
            turns = [await self.engine.buyer.turn(), await self.engine.reconciler.turn()]
            await self.engine.buyer.workers.drain(timedelta(minutes=1))
            await self.engine.reconciler.workers.drain(timedelta(minutes=1))
            turns.append(await self.engine.sweep.turn())
            turns.append(await self.engine.deliverer.turn())
            await self.engine.deliverer.workers.drain(timedelta(minutes=1))
            if all(due_at is None or due_at > self.clock() for due_at in turns):
                return
        raise AssertionError("the engine never comes to rest")

    async def advance(self, **duration: float) -> None:
        """Move the clock, stopping whenever something is due."""
        target = self.clock() + timedelta(**duration)
        while self.clock() < target:
            due = [
                await self.engine.buyer.turn(),
                await self.engine.reconciler.turn(),
                await self.engine.sweep.turn(),
                await self.engine.deliverer.turn(),
            ]
            if self._is_at_work():
                # What the last look made due has been taken up: time stands still meanwhile.
                await self.work()
                continue
            times = [at for at in due if at is not None and at > self.clock()]
            self.clock.at = min([*times, target])
            await self.work()

    def _is_at_work(self) -> bool:
        engine = self.engine
        return any(
            part.workers.held for part in (engine.buyer, engine.reconciler, engine.deliverer)
        )

    async def find(self, instance_id: str) -> Instance:
        """Return the row as it is now."""
        found = await self.database.read(lambda c: instances.find(c, instance_id))
        assert found is not None
        return found

    async def history(self, instance_id: str) -> list[str]:
        """Return what an instance went through; how it was reached meanwhile is left out."""
        events = await self.database.read(lambda c: history.list_of_instance(c, instance_id))
        return [
            event.type.value.removeprefix("instance.")
            for event in events
            if event.type is not EventType.CONNECTION_CHANGED
        ]

    async def delivery_statuses(self) -> list[DeliveryStatus]:
        """Return the status of every delivery, oldest first."""
        found, _ = await self.database.read(
            lambda c: deliveries.list_page(
                c, status=None, instance_id=None, before=None, limit=1000
            )
        )
        return [delivery.status for delivery in reversed(found)]

    def fault(self, kind: Any, route: Any, **details: Any) -> None:
        """Let requests go wrong at Novita."""
        self.world.faults.add(Fault(kind=kind, route=route, **details), self.world.now())

    def fate(self, kind: Any, **details: Any) -> None:
        """Decide what happens to the machines that are bought next."""
        self.world.fates.add(Fate(kind=kind, **details))

    def console(self, instance: Instance, action: str, **details: Any) -> None:
        """Let a person, or the platform, do something to a machine."""
        assert instance.machine.novita_id is not None
        machine = self.world.machines[instance.machine.novita_id]
        perform_action(self.world, machine, action, ActionDetails(**details))

    def switch(self, **settings: Any) -> None:
        """Change how Novita behaves from now on."""
        self.world.settings = replace(self.world.settings, **settings)

    async def running(self, **changes: Any) -> Instance:
        """Order an instance and return it running."""
        ordered = await self.order(**changes)
        await self.advance(minutes=2)
        running = await self.find(ordered.id)
        assert running.status is Status.RUNNING, running
        return running

    def machines(self) -> list[str]:
        """Return the ids of all machines that exist at Novita now."""
        now = self.world.now()
        return [
            machine.id
            for machine in self.world.machines.values()
            if (moment := machine.at(now)) is not None and moment.status != "removed"
        ]

    def calls(self, route: str) -> int:
        """Return how often Novita was asked this."""
        return sum(visit.route == route for visit in self.world.journal.requests())

    async def broken(self) -> list[str]:
        """Return which of the promises that hold at any moment are broken."""
        urls = self.settings.webhook_urls
        retries = self.settings.webhook_retries
        return await self.database.read(
            lambda c: invariants.broken_always(c, urls=urls, retries=retries)
        )

    async def broken_at_rest(self) -> list[str]:
        """Return which promises are broken, of all; Novita has had its bad day."""
        machines = invariants.machines_in(self.world)
        now = self.clock()
        return [
            *await self.broken(),
            *await self.database.read(
                lambda c: [
                    *invariants.broken_at_rest(c, now),
                    *invariants.broken_at_novita(c, machines),
                ]
            ),
        ]

    async def close(self) -> None:
        """Let go of everything."""
        await self.novita.aclose()
        await asyncio.to_thread(self.database.close)


def tame(clock: Callable[[], datetime], *, first: int = 1, **replaced: Any) -> Outside:
    """Return an outside world whose time does not jump, and whose ids count up from ``first``."""
    counter = itertools.count(first)
    return Outside(
        clock=clock,
        steady=lambda: clock().timestamp(),
        may_jump=False,
        random_bytes=lambda size: next(counter).to_bytes(size),
        **replaced,
    )


def build_rig(
    directory: Path,
    database_url: str | None = None,
    *,
    simulator: SimulatorSettings | None = None,
    environ: dict[str, str] | None = None,
    beside: "Rig | None" = None,
) -> Rig:
    """Return a rig; ``environ`` changes settings by their variables.

    It works on the database of the URL, or on the store in ``directory``, and on Novita and the
    clock of the rig that it stands ``beside``.
    """
    clock = beside.clock if beside else Clock()
    sim_settings = simulator or SimulatorSettings(spot_lifetime_seconds=0, phase_seconds=QUICK)
    app = beside.simulator if beside else build_simulator(sim_settings, wall=clock)
    settings = _settings(directory, environ or {})
    database = Database(database_url or sqlite_url(directory / STORE))
    migrations.upgrade(database.engine)
    with database.engine.begin() as connection:
        deployment = facts.ensure_mark(connection, DEPLOYMENT)
    receiver = Receiver(clock)

    async def sleep(seconds: float) -> None:
        clock.at += timedelta(seconds=seconds)

    outside = tame(
        clock,
        # No two rigs of one store give the same id.
        first=int(clock().timestamp()) if beside else 1,
        sleep=sleep,
        draw=Random(f"{directory}" if beside else 7).random,
        connect=lambda: _Wire(app),
        sender=cast(Sender, receiver),
    )
    store = OpenStore(database, SECRETS, deployment)
    runtime = assemble(settings, Role.ALL, store, outside)
    assert runtime.engine is not None
    # Its loops do not run by themselves here.
    examine = partial(examine_health, database, Vitals())
    service = replace(
        runtime.service, examine=lambda is_brief: examine(clock(), about={}, is_brief=is_brief)
    )
    return Rig(
        clock,
        app.state.world,
        app,
        runtime.novita,
        database,
        service,
        runtime.engine,
        receiver,
        settings,
        directory,
    )


def _settings(directory: Path, environ: dict[str, str]) -> Settings:
    settings = load_settings(
        {
            "NOVITA_API_KEY": "test-key",
            "NOVITA_BASE_URL": "http://novita.test",
            "GPUKEEPER_DATA_DIR": str(directory),
            "GPUKEEPER_WEBHOOK_URL": HOOK,
            **environ,
        },
        env_file=None,
    )
    # Without pacing, which would move the clock.
    return settings.model_copy(update={"novita_rate": 0})
