"""The whole service on simulated time: real engine and SQLite file, simulator, weather between."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from pydantic import SecretStr
from sqlalchemy import event

from gpukeeper.config import load as load_settings
from gpukeeper.domain.events import Change
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.novita.catalog import Catalog
from gpukeeper.novita.client import CallReport, NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.reporter import Reporter
from gpukeeper.runtime.loops import Engine, Tools, build_engine
from gpukeeper.service import Service
from gpukeeper.service.feed import Feed
from gpukeeper.service.health import Vitals, examine_health
from gpukeeper.service.ordering import Ordering
from gpukeeper.simulator.novita_api.simulator_app import build_app as build_simulator
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import Settings as SimulatorSettings
from gpukeeper.store import facts, migrations
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import create_metrics, get_logger
from gpukeeper.webhooks.sender import Sender
from tests.chaos.network import Wire
from tests.chaos.receiver import HOOKS, Receiver
from tests.chaos.timeline import now

T = TypeVar("T")

DEPLOYMENT = "ch40"
LOG = "chaos"


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
    witness: Witness
    novita: NovitaClient


def build_stage(directory: Path, *, seed: int, simulator: SimulatorSettings) -> Stage:
    """Return the service, its loops not yet running, on a loop with simulated time."""
    app = build_simulator(simulator, wall=now)
    random = Random(f"{seed} engine")
    counter = itertools.count(1)
    settings = load_settings(
        {
            "NOVITA_API_KEY": "test-key",
            "GPUKEEPER_DATA_DIR": str(directory),
            "GPUKEEPER_WEBHOOK_URL": ",".join(HOOKS),
        },
        env_file=None,
    )
    database = InlineDatabase(directory / "chaos.db")
    migrations.upgrade(database.engine)
    with database.engine.begin() as connection:
        facts.ensure_mark(connection, DEPLOYMENT)
    log = get_logger(LOG)
    _write_log(directory / "chaos.log")
    witness = Witness(create_metrics(), log, now)
    wire = Wire(app, Random(f"{seed} wire"), refused=0)
    novita = NovitaClient(
        base_url="http://novita.test",
        api_key=SecretStr("key"),
        connect=lambda: wire,
        timeout_seconds=settings.novita_timeout.total_seconds(),
        retries=settings.novita_retries,
        rate_per_second=settings.novita_rate,
        clock=now,
        random=random.random,
        on_call=witness.called,
    )
    receiver = Receiver(Random(f"{seed} receiver"))
    nudges = Nudges()
    tools = Tools(
        database=database,
        novita=novita,
        market=Quotes(Catalog(novita, clock=now), settings.region),
        sender=cast(Sender, receiver),
        outbox=Outbox(
            settings.webhook_urls, settings.webhook_retries, lambda p, _: f"{p}_{next(counter):09}"
        ),
        seal=EnvsCipher("A" * 43 + "="),
        limits=Limits(adoption_window=settings.adoption_window),
        nudges=nudges,
        reporter=witness,
        deployment=DEPLOYMENT,
    )
    engine = build_engine(settings, tools, clock=now, draw=random.random)
    ordering = Ordering(
        database=database,
        market=tools.market,
        outbox=tools.outbox,
        seal=tools.seal,
        deployment=DEPLOYMENT,
        nudges=nudges,
        clock=now,
        random_bytes=random.randbytes,
        on_change=witness.changed,
        buyer=engine.buyer,
    )
    service = Service(
        ordering=ordering,
        database=database,
        novita=novita,
        market=tools.market,
        outbox=tools.outbox,
        seal=tools.seal,
        limits=tools.limits,
        deployment=DEPLOYMENT,
        nudges=nudges,
        clock=now,
        random_bytes=random.randbytes,
        on_change=witness.changed,
        examine=lambda is_brief: examine_health(
            database, Vitals(), now(), about={}, is_brief=is_brief
        ),
        log=log,
        patience=timedelta(seconds=150),
        feed=Feed(database, nudges),
    )
    return Stage(app.state.world, wire, database, service, engine, receiver, witness, novita)


def _write_log(path: Path) -> None:
    """Let warnings and errors go to a file: there are thousands, and none is surprising."""
    logger = logging.getLogger(LOG)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.addHandler(logging.FileHandler(path))
    logger.setLevel(logging.INFO)
    logger.propagate = False
