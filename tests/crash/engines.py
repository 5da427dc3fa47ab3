"""Two engines on one store, held at every step, with one Novita, one receiver and one clock."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

from prometheus_client import generate_latest
from sqlalchemy import event

from gpukeeper.config import load as load_settings
from gpukeeper.runtime import OpenStore, Role, Runtime, assemble
from gpukeeper.runtime.loops import Engine
from gpukeeper.service import Service
from gpukeeper.simulator.novita_api.simulator_app import build_app as build_simulator
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import facts, leases, migrations, tables
from gpukeeper.store.db.database import Database
from gpukeeper.telemetry import Metrics
from gpukeeper.webhooks import sender
from tests.crash.gates import Gates, Loop, Receiver, Sender, Store, Wire, as_database
from tests.engine.rig import HOOK, QUICK, SECRETS, Clock, tame

DEPLOYMENT = "cra5"
HOOKS = (HOOK, "https://hooks.example/other")
WORLD = SimulatorSettings(
    spot_lifetime_seconds=0, phase_seconds=QUICK, balance_usd=1_000_000, clock="real"
)
_RETRIES = 3
_SETTINGS = load_settings(
    {
        "NOVITA_API_KEY": "key",
        "NOVITA_BASE_URL": "http://novita.test",
        "GPUKEEPER_NOVITA_TIMEOUT": "3600",
        "GPUKEEPER_WEBHOOK_URL": ",".join(HOOKS),
        "GPUKEEPER_WEBHOOK_RETRIES": str(_RETRIES),
    },
    env_file=None,
).model_copy(update={"novita_rate": 0})


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
        self.outside = tame(self.clock, draw=Random(7).random)
        self.is_swallowed = False
        path.write_bytes(empty)
        self.database = _open(path)
        self.processes = [self.start(), self.start()]
        self.service = self._service()

    def start(self) -> Process:
        """Start an engine with all its gates closed."""
        gates = Gates(self.clock)
        runtime = self._assemble(Role.ENGINE, gates)
        engine = runtime.engine
        assert engine is not None
        loops = {
            "buy": engine.buyer.turn,
            "reconcile": engine.reconciler.turn,
            "look": engine.sweep.turn,
            "deliver": engine.deliverer.turn,
        }
        return Process(gates, engine, runtime.metrics, loops)

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

    def _assemble(self, role: Role, gates: Gates) -> Runtime:
        outside = replace(
            self.outside,
            sleep=partial(self._sleep, gates),
            connect=lambda: Wire(self.app, gates, lambda: self.is_swallowed),
            sender=cast(sender.Sender, Sender(self.receiver, gates)),
        )
        database = as_database(Store(self.database, gates))
        return assemble(_SETTINGS, role, OpenStore(database, SECRETS, DEPLOYMENT), outside)

    def _service(self) -> Service:
        """Return the service, which is held nowhere and does not wait for an engine."""
        runtime = self._assemble(Role.API, Gates(self.clock, is_open=True))
        ordering = replace(runtime.service.ordering, patience=timedelta(0))
        return replace(runtime.service, ordering=ordering)


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
