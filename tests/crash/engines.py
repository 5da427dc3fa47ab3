"""Two engines on one store, held at every step, with one Novita, one receiver and one clock."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

from prometheus_client import generate_latest
from pydantic import SecretStr
from sqlalchemy import event

from gpukeeper.config import load as load_settings
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.novita.catalog import Catalog
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.reporter import Reporter
from gpukeeper.runtime.loops import Engine, Tools, build_engine
from gpukeeper.service import Service
from gpukeeper.service.feed import Feed
from gpukeeper.service.health import Vitals, examine_health
from gpukeeper.service.ordering import Ordering
from gpukeeper.simulator.novita_api.simulator_app import build_app as build_simulator
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import facts, leases, migrations, tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import Metrics, create_metrics, get_logger
from gpukeeper.webhooks import sender
from tests.crash.gates import Gates, Loop, Receiver, Sender, Store, Wire, as_database
from tests.engine.rig import HOOK, QUICK, Clock

DEPLOYMENT = "cra5"
HOOKS = (HOOK, "https://hooks.example/other")
WORLD = SimulatorSettings(
    spot_lifetime_seconds=0, phase_seconds=QUICK, balance_usd=1_000_000, clock="real"
)
LIMITS = Limits()
_RETRIES = 3
_SETTINGS = load_settings(
    {
        "NOVITA_API_KEY": "key",
        "GPUKEEPER_WEBHOOK_URL": ",".join(HOOKS),
        "GPUKEEPER_WEBHOOK_RETRIES": str(_RETRIES),
    },
    env_file=None,
)
_SEAL = EnvsCipher("A" * 43 + "=")


@dataclass(slots=True)
class Process:
    """One engine and the tasks that it was made to begin."""

    gates: Gates
    engine: Engine
    metrics: Metrics
    loops: dict[str, Callable[[], Any]]
    turning: dict[str, Any] = field(default_factory=dict)


class House:
    """The world of one example."""

    def __init__(self, path: Path, empty: bytes) -> None:
        self.loop = Loop()
        self.clock = Clock()
        self.app = build_simulator(WORLD, wall=self.clock)
        self.world = self.app.state.world
        self.receiver = Receiver(self.clock)
        self.random = Random(7)
        self.numbers = itertools.count(1)
        self.is_swallowed = False
        path.write_bytes(empty)
        self.database = _open(path)
        self.processes = [self.start(), self.start()]
        self.service = self._service()

    def start(self) -> Process:
        """Start an engine with all its gates closed."""
        gates = Gates(self.clock)
        metrics = create_metrics()
        reporter = Reporter(metrics, get_logger("test"), self.clock)
        novita = NovitaClient(
            base_url="http://novita.test",
            api_key=SecretStr("key"),
            connect=lambda: Wire(self.app, gates, lambda: self.is_swallowed),
            timeout_seconds=3600,
            rate_per_second=0,
            clock=self.clock,
            sleep=partial(self._sleep, gates),
            random=self.random.random,
        )
        tools = Tools(
            database=as_database(Store(self.database, gates)),
            novita=novita,
            market=Quotes(Catalog(novita, clock=self.clock), _SETTINGS.region),
            sender=cast(sender.Sender, Sender(self.receiver, gates)),
            outbox=self._outbox(),
            seal=_SEAL,
            limits=LIMITS,
            nudges=Nudges(),
            reporter=reporter,
            deployment=DEPLOYMENT,
        )
        engine = build_engine(_SETTINGS, tools, clock=self.clock, draw=self.random.random)
        loops = {
            "buy": engine.buyer.turn,
            "reconcile": engine.reconciler.turn,
            "look": engine.sweep.turn,
            "deliver": engine.deliverer.turn,
        }
        return Process(gates, engine, metrics, loops)

    def turn(self, process: Process, name: str) -> None:
        """Let a loop of a process begin its next turn, unless it is in one."""
        under_way = process.turning.get(name)
        if under_way is None or under_way.done():
            self._check_turn(under_way)
            process.turning[name] = self.loop.create_task(process.loops[name]())
            self.loop.settle()

    def go_on(self, process: Process, index: int) -> None:
        """Let one task of a process go on to its next gate."""
        if process.gates.waiting:
            process.gates.let_go(index)
            self.loop.settle()

    def move(self, process: Process, steps: int) -> None:
        """Let a process take so many steps; when it has nothing to do, its loops turn."""
        for _ in range(steps):
            if process.gates.waiting:
                self.go_on(process, 0)
                continue
            for name in process.loops:
                self.turn(process, name)

    def replace(self, index: int) -> None:
        """Kill a process as it is and start another; what it had leased stays leased."""
        self._kill(self.processes[index])
        self.processes[index] = self.start()

    def restart_all(self) -> None:
        """Kill everything, and start again as the only one on a SQLite file does."""
        for process in self.processes:
            self._kill(process)
        with self.database.engine.begin() as connection:
            leases.release_all(connection, tables.instances)
            leases.release_all(connection, tables.deliveries)
        self.processes = [self.start(), self.start()]

    def let_time_pass(self, duration: timedelta) -> None:
        """Move the clock; what is on its way to Novita arrives, or is lost, at its time."""
        until = self.clock() + duration
        while times := [at for at in self._losses() if at <= until]:
            self.clock.at = max(self.clock(), min(times))
            for process in self.processes:
                process.gates.lose(self.clock())
            self.loop.settle()
        self.clock.at = max(self.clock(), until)

    def recover(self) -> None:
        """Let nothing go wrong any more."""
        self.world.faults.clear()
        self.world.settings = WORLD
        self.receiver.script.clear()

    def run(self, duration: timedelta, *, alone: Process | None = None) -> None:
        """Let engines work freely for so long, stopping the clock whenever something is due.

        While one works ``alone``, the other stays where it is, as a paused process does.
        """
        working = [alone] if alone else self.processes
        for process in working:
            process.gates.open()
        self.loop.settle()
        until = self.clock() + duration
        while self.clock() < until:
            due = [at for process in working for at in self._all_turns(process)]
            later = [at for at in due if at is not None and at > self.clock()]
            if not any(at is not None and at <= self.clock() for at in due):
                self.let_time_pass(min([*later, until]) - self.clock())
        for process in working:
            process.gates.is_open = False

    def faults_of_our_own(self) -> list[str]:
        """Return what the processes count as faults of their own."""
        return [
            line
            for process in self.processes
            for line in generate_latest(process.metrics.registry).decode().splitlines()
            if line.startswith("gpukeeper_unhandled_errors_total{") and not line.endswith(" 0.0")
        ]

    def close(self) -> None:
        """Let go of everything."""
        for process in self.processes:
            self._kill(process)
        self.loop.close()
        self.database.close()

    def call(self, request: Any) -> Any:
        """Return what a use case of the API returns, which no crash interrupts."""
        return self.loop.run_until_complete(request)

    def _losses(self) -> list[Any]:
        return [
            gate.lost_at
            for process in self.processes
            for gate in process.gates.waiting
            if gate.lost_at is not None
        ]

    def _all_turns(self, process: Process) -> list[Any]:
        for name in process.loops:
            self.turn(process, name)
        return [task.result() for task in process.turning.values()]

    def _kill(self, process: Process) -> None:
        while process.gates.waiting:
            process.gates.kill()
            self.loop.settle()
        process.gates.kill()
        for task in process.turning.values():
            self._check_turn(task)

    def _check_turn(self, task: Any) -> None:
        if task is not None and task.done() and not task.cancelled():
            task.result()

    async def _sleep(self, gates: Gates, seconds: float) -> None:
        until = self.clock() + timedelta(seconds=seconds)
        await gates.wait("sleep")
        self.clock.at = max(self.clock(), until)

    def _outbox(self) -> Outbox:
        return Outbox(HOOKS, _RETRIES, lambda prefix, _: f"{prefix}_{next(self.numbers):06}")

    def _service(self) -> Service:
        gates = Gates(self.clock, is_open=True)
        process = self.processes[0]
        database = as_database(Store(self.database, gates))
        nudges = Nudges()
        market = Quotes(Catalog(process.engine.sweep.novita, clock=self.clock), "CN-HK-01")
        outbox = self._outbox()
        ordering = Ordering(
            database=database,
            market=market,
            outbox=outbox,
            seal=_SEAL,
            deployment=DEPLOYMENT,
            nudges=nudges,
            clock=self.clock,
            random_bytes=self.random.randbytes,
            on_change=lambda change: None,
            patience=timedelta(0),
        )
        return Service(
            ordering=ordering,
            database=database,
            novita=process.engine.sweep.novita,
            market=market,
            outbox=outbox,
            seal=_SEAL,
            limits=LIMITS,
            deployment=DEPLOYMENT,
            nudges=nudges,
            clock=self.clock,
            random_bytes=self.random.randbytes,
            on_change=lambda change: None,
            examine=lambda is_brief: examine_health(
                database, Vitals(), self.clock(), about={}, is_brief=is_brief
            ),
            log=get_logger("test"),
            feed=Feed(database, nudges),
            patience=None,
        )


def build_empty(path: Path) -> bytes:
    """Make an empty store and return its file."""
    database = _open(path)
    migrations.upgrade(database.engine)
    with database.engine.begin() as connection:
        facts.ensure_mark(connection, DEPLOYMENT)
    database.close()
    return path.read_bytes()


def _open(path: Path) -> Database:
    database = Database(f"sqlite:///{path}")

    @event.listens_for(database.engine, "connect")
    def do_not_sync(connection: Any, record: object) -> None:
        # No power is cut here, and a thousand syncs are slow.
        connection.execute("PRAGMA synchronous = OFF").close()

    return database


def misbehave(house: House, **settings: Any) -> None:
    """Change how Novita behaves until it recovers."""
    house.world.settings = replace(house.world.settings, **settings)
