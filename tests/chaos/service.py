"""The whole service on simulated time: real engine and SQLite file, simulator, weather between."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from sqlalchemy import event

from gpukeeper.config import load as load_settings
from gpukeeper.domain.events import Change
from gpukeeper.novita.client import CallReport, NovitaClient
from gpukeeper.reporter import Reporter
from gpukeeper.runtime import OpenStore, Role, assemble
from gpukeeper.runtime.loops import Engine
from gpukeeper.service import Service
from gpukeeper.simulator.novita_api.simulator_app import build_app as build_simulator
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import facts, migrations
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.webhooks.sender import Sender
from tests.chaos.network import Wire
from tests.chaos.receiver import HOOKS, Receiver
from tests.chaos.timeline import now
from tests.engine.rig import SECRETS, tame

T = TypeVar("T")

DEPLOYMENT = "ch40"


class InlineDatabase(Database):
    """The real database without its threads, whose order no seed could repeat."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:///{path}")

        @event.listens_for(self.engine, "connect")
        def do_not_wait_for_the_disk(connection: Any, record: object) -> None:
            connection.execute("PRAGMA synchronous = OFF").close()

    async def read(self, unit: Callable[[Connection], T]) -> T:
        """Return what ``unit`` reads."""
        return self._read(unit)

    async def write(self, unit: Callable[[Connection], T]) -> T:
        """Return what ``unit`` returns, once it is committed."""
        with self.engine.begin() as connection:
            return unit(connection)


@dataclass(frozen=True)
class Witness(Reporter):
    """Also counts what the figures tell of."""

    counts: Counter[str] = field(default_factory=Counter)
    not_found: set[str] = field(default_factory=set)

    def called(self, report: CallReport) -> None:
        """Count a call by its outcome."""
        self.counts[f"call {report.outcome}"] += 1
        if report.route == "create":
            self.counts[f"create {report.outcome}"] += 1
        super().called(report)

    def changed(self, change: Change) -> None:
        """Count what became of lost answers to purchases."""
        before, after = change.before, change.after
        had = before.purchase.intent if before else None
        was_looked_up = had is not None and had.lookup_until is not None
        is_looked_up = (
            after.purchase.intent is not None and after.purchase.intent.lookup_until is not None
        )
        if is_looked_up and not was_looked_up:
            self.counts["looked up"] += 1
        if was_looked_up and after.purchase.intent is None:
            self.counts["adopted" if after.machine.novita_id else "not found"] += 1
            self.not_found.add(after.id)
        if had is None and after.purchase.intent is not None and after.id in self.not_found:
            self.counts["bought again"] += 1
        super().changed(change)

    def failed(self, where: str) -> None:
        """Count a fault of our own, which no run may have."""
        self.counts["unhandled"] += 1
        super().failed(where)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that takes part."""

    world: World
    wire: Wire
    database: Database
    service: Service
    engine: Engine
    receiver: Receiver
    counts: Counter[str]
    novita: NovitaClient


def build_stage(directory: Path, *, seed: int, simulator: SimulatorSettings) -> Stage:
    """Return the service, its loops not yet running, on a loop with simulated time."""
    app = build_simulator(simulator, wall=now)
    settings = load_settings(
        {
            "NOVITA_API_KEY": "test-key",
            "NOVITA_BASE_URL": "http://novita.test",
            "GPUKEEPER_DATA_DIR": str(directory),
            "GPUKEEPER_WEBHOOK_URL": ",".join(HOOKS),
        },
        env_file=None,
    )
    database = InlineDatabase(directory / "chaos.db")
    migrations.upgrade(database.engine)
    with database.engine.begin() as connection:
        facts.ensure_mark(connection, DEPLOYMENT)
    counts: Counter[str] = Counter()
    wire = Wire(app, Random(f"{seed} wire"), refused=0)
    receiver = Receiver(Random(f"{seed} receiver"))
    outside = tame(
        now,
        draw=Random(f"{seed} engine").random,
        connect=lambda: wire,
        sender=cast(Sender, receiver),
        reporter=partial(Witness, counts=counts),
    )
    runtime = assemble(settings, Role.ALL, OpenStore(database, SECRETS, DEPLOYMENT), outside)
    assert runtime.engine is not None
    return Stage(
        app.state.world,
        wire,
        database,
        runtime.service,
        runtime.engine,
        receiver,
        counts,
        runtime.novita,
    )


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Let warnings and errors go to a file: there are thousands, and none is surprising."""
    logger, handler = logging.getLogger("gpukeeper"), logging.FileHandler(path)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    handler.close()
