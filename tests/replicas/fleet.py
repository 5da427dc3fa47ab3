"""Several real processes on one PostgreSQL, with their Novita, their receiver and their clients."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Event

from sqlalchemy import Connection, Engine

from gpukeeper.store import migrations
from gpukeeper.store.db import postgres
from tests.crash.clients import Client
from tests.crash.invariants import bought_twice, unrest
from tests.crash.verdict import Counts, count
from tests.e2e.novita import Novita
from tests.e2e.receiver import Hook, Receiver
from tests.e2e.serving import QUICK, Service
from tests.e2e.waiting import eventually, pause
from tests.invariants import broken_always, broken_at_novita, machines_in
from tests.postgres import Server
from tests.replicas.lease_record import Ledger

CLIENTS = 6
RETRIES = 3
SETTINGS = {
    "GPUKEEPER_ADOPTION_WINDOW": "3",
    "GPUKEEPER_WEBHOOK_RETRIES": str(RETRIES),
    "GPUKEEPER_LOG_LEVEL": "info",
}
# Novita and the receiver take this long, so that at most moments somebody holds a row.
SLOWNESS_SECONDS = 0.4
_SLOW_ROUTES = ("create", "stop", "delete")


@dataclass(slots=True)
class Fleet:
    """Replicas with these roles on one server; ``dead`` says who died when."""

    server: Server
    directory: Path
    novita: Novita
    receiver: Receiver
    roles: Sequence[str]
    replicas: list[Service] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)
    dead: dict[str, datetime] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """Who holds what."""
        return Ledger(self.server.url)

    def start(self) -> None:
        """Start every replica, on a Novita and with a receiver that take their time."""
        self._slow_down()
        with self._engine() as engine:
            migrations.upgrade(engine)
        self.ledger.open()
        urls = {"NOVITA_BASE_URL": self.novita.url, "GPUKEEPER_WEBHOOK_URL": self.receiver.url}
        for number, role in enumerate(self.roles):
            settings = QUICK | SETTINGS | urls
            self.replicas.append(Service(self.directory / f"replica-{number}", settings, role))
            self.holders.append("")
            self.revive(number)

    def revive(self, number: int) -> None:
        """Start a replica under a name that none had before."""
        holder = f"replica-{number}-{len(self.dead)}"
        replica = self.replicas[number]
        named = {"GPUKEEPER_DATABASE_URL": self.ledger.named(holder)}
        replica.settings = {**replica.settings, **named}
        self.holders[number] = holder
        replica.start()

    def kill(self, number: int) -> None:
        """Kill a replica."""
        self.dead[self.holders[number]] = self.ledger.now()
        self.replicas[number].kill()

    def close(self) -> None:
        """Stop every replica, and make sure that none had a fault of its own."""
        for replica in self.replicas:
            replica.close()

    @contextmanager
    def under_load(
        self, broken: list[str], *, passing: frozenset[int] = frozenset()
    ) -> Iterator[None]:
        """Let clients ask one replica after the other, as a balancer does, for a block."""
        is_over = Event()
        turns = itertools.cycle(
            replica for replica in self.replicas if replica.role in ("all", "api")
        )
        self.clients = [
            Client(number, lambda: next(turns).url, is_over, passing) for number in range(CLIENTS)
        ]
        with ThreadPoolExecutor(CLIENTS) as pool:
            working = [pool.submit(client.work) for client in self.clients]
            try:
                yield
            finally:
                is_over.set()
            for done in working:
                broken += done.result()

    def broken(self) -> list[str]:
        """Return which promises are not kept at this moment."""
        with self.store() as connection:
            return [
                *broken_always(connection, urls=[self.receiver.url], retries=RETRIES),
                *bought_twice(self.novita.simulator.world),
            ]

    def come_to_rest(self) -> None:
        """Wait until nothing is under way."""
        eventually(self._is_at_rest, "rest")

    def count(self, broken: list[str]) -> Counts:
        """Return what came of a run that has come to rest."""
        with self.store() as connection:
            return count(
                connection,
                novita=self.novita,
                receiver=self.receiver,
                clients=self.clients,
                retries=RETRIES,
                broken=broken,
            )

    @contextmanager
    def store(self) -> Iterator[Connection]:
        """Give a connection that sees everything as it is at one moment."""
        with self._engine() as engine, postgres.read_only_engine(engine).connect() as connection:
            yield connection

    @contextmanager
    def _engine(self) -> Iterator[Engine]:
        engine = postgres.open_engine(self.server.url, connections=1)
        try:
            yield engine
        finally:
            engine.dispose()

    def _is_at_rest(self) -> bool:
        with self.store() as connection:
            machines = machines_in(self.novita.simulator.world)
            return not (unrest(connection) or broken_at_novita(connection, machines))

    def _slow_down(self) -> None:
        def accept_slowly(hook: Hook) -> int:
            pause(SLOWNESS_SECONDS)
            return 204

        self.receiver.answer = accept_slowly
        for route in _SLOW_ROUTES:
            # Half of them take effect before the wait, and the others after it.
            for when, probability in (("before", 0.5), ("after", 1.0)):
                self.novita.fault(
                    "slow", route, seconds=SLOWNESS_SECONDS, when=when, probability=probability
                )
