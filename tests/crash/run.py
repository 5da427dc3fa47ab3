"""Kill the real service at bad moments, again and again, while orders and webhooks are under way.

``python -m tests.crash.run --kills 200`` prints its figures, and ends with 1 if any is bad.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from threading import Event

from sqlalchemy import Connection, create_engine

from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from tests.crash.clients import Client
from tests.crash.invariants import bought_twice, unrest
from tests.crash.verdict import Counts, count
from tests.e2e.novita import Novita, simulating
from tests.e2e.program import COMMAND, environment
from tests.e2e.receiver import Hook, Receiver, receiving
from tests.e2e.serving import QUICK, Service
from tests.e2e.waiting import eventually, pause
from tests.invariants import (
    broken_always,
    broken_at_novita,
    hidden_from_billing,
    machines_in,
)

CLIENTS = 4
# How a process ends: at a random moment, while it starts, when Novita has done what it was asked
# but not answered yet, or when the receiver has a webhook but has not answered yet.
# "away" is in a create, too, and Novita is away when the process comes back.
MOMENTS = ("time", "time", "start", "create", "create", "delete", "stop", "list", "webhook", "away")
AWAY_SECONDS = 2.0
# When the moment that was chosen does not come, any other does.
LONGEST_WAIT_SECONDS = 3.0
LONGEST_TIME_MS = 600
LONGEST_START_MS = 1_500
RETRIES = 3
SETTINGS = {
    "GPUKEEPER_ADOPTION_WINDOW": "3",
    "GPUKEEPER_WEBHOOK_RETRIES": str(RETRIES),
    "GPUKEEPER_LOG_LEVEL": "info",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """How the service was killed, and what came of it."""

    kills: int
    moments: dict[str, int]
    counts: Counts


def run(kills: int, *, directory: Path, say: Callable[[str], None] = lambda line: None) -> Figures:
    """Kill the service so often, and return what came of it."""
    with simulating() as novita, receiving() as receiver:
        house = House(directory, novita, receiver)
        with closing(house.service):
            return house.run(kills, say)


class House:
    """One service that dies and comes back, its Novita, its receiver and its clients."""

    def __init__(self, directory: Path, novita: Novita, receiver: Receiver) -> None:
        self.novita = novita
        self.receiver = receiver
        settings = {"NOVITA_BASE_URL": novita.url, "GPUKEEPER_WEBHOOK_URL": receiver.url}
        self.service = Service(directory, QUICK | SETTINGS | settings)
        self.moment = ""
        self.has_come = Event()
        self.is_over = Event()
        self.moments: Counter[str] = Counter()
        receiver.answer = self.on_webhook
        journal = novita.simulator.world.journal
        write = journal.write

        def write_and_die(record: RequestRecord) -> None:
            write(record)
            self.come(record.route)

        journal.write = write_and_die  # type: ignore[method-assign] # Novita's last moment before it answers

    def run(self, kills: int, say: Callable[[str], None]) -> Figures:
        """Run the clients, kill under them, and count."""
        broken: list[str] = []
        clients = [
            Client(number, lambda: self.service.url, self.is_over) for number in range(CLIENTS)
        ]
        self.service.start()
        with ThreadPoolExecutor(CLIENTS) as pool:
            working = [pool.submit(client.work) for client in clients]
            try:
                for seed in range(kills):
                    moment = self.kill(Random(seed))
                    self.moments[moment] += 1
                    with self.store() as connection:
                        broken += broken_always(
                            connection, urls=[self.receiver.url], retries=RETRIES
                        )
                    broken += bought_twice(self.novita.simulator.world)
                    say(f"kill {seed + 1}: {moment}; broken: {broken}")
                    self.service.start()
                    if moment == "away":
                        pause(AWAY_SECONDS / 2)
                        broken += self.hidden()
            finally:
                self.is_over.set()
            for done in working:
                broken += done.result()
        eventually(lambda: not self.under_way(), "rest")
        return self.count(kills, clients, broken)

    def kill(self, random: Random) -> str:
        """Kill the process at a moment of this chance, and return which it was."""
        moment = random.choice(MOMENTS)
        if moment == "time":
            pause(random.randrange(LONGEST_TIME_MS) / 1_000)
        elif moment == "start":
            self.service.kill()
            self.start_in_vain(random.randrange(LONGEST_START_MS) / 1_000)
            return moment
        else:
            self.has_come.clear()
            self.moment = "create" if moment == "away" else moment
            came = self.has_come.wait(LONGEST_WAIT_SECONDS)
            self.moment = ""
            moment = moment if came else "time"
        self.service.kill()
        if moment == "away":
            self.novita.simulator.world.faults.add(
                Fault(kind="html", status=503, for_seconds=AWAY_SECONDS),
                self.novita.simulator.world.now(),
            )
        return moment

    def hidden(self) -> list[str]:
        """Return what costs money and is said to cost nothing, while Novita is away."""
        machines = machines_in(self.novita.simulator.world)
        with self.store() as connection:
            return hidden_from_billing(connection, machines)

    def come(self, moment: str) -> None:
        """Kill the process at once if it is to die at this moment; nobody has an answer yet."""
        if self.moment == moment:
            self.moment = ""
            self.service.strike()
            self.has_come.set()

    def on_webhook(self, hook: Hook) -> int:
        """Take a webhook."""
        self.come("webhook")
        return 204

    def start_in_vain(self, seconds: float) -> None:
        """Start a process and kill it before it knows where it is."""
        settings = {"GPUKEEPER_DATA_DIR": str(self.service.data_dir), **self.service.settings}
        with subprocess.Popen(
            [*COMMAND, "serve"],
            env=environment(settings),
            cwd=self.service.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            pause(seconds)
            process.kill()

    @contextmanager
    def store(self) -> Iterator[Connection]:
        """Open the file that the process works on, or has left."""
        engine = create_engine(f"sqlite:///{self.service.data_dir / 'gpukeeper.db'}")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def under_way(self) -> list[str]:
        """Return what is still under way."""
        with self.store() as connection:
            return unrest(connection) or broken_at_novita(
                connection, machines_in(self.novita.simulator.world)
            )

    def count(self, kills: int, clients: list[Client], broken: list[str]) -> Figures:
        """Return the figures of a run that has come to rest."""
        with self.store() as connection:
            counts = count(
                connection,
                novita=self.novita,
                receiver=self.receiver,
                clients=clients,
                retries=RETRIES,
                broken=broken,
            )
        return Figures(kills, dict(self.moments), counts)


def main() -> int:
    """Run as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    with tempfile.TemporaryDirectory(prefix="gpukeeper-crash-") as directory:
        figures = run(parser.parse_args().kills, directory=Path(directory), say=print)
    figures_of_all = {"kills": figures.kills, "moments": figures.moments, **asdict(figures.counts)}
    for name, figure in figures_of_all.items():
        print(f"{name.replace('_', ' '):20} {figure}")
    return 1 if figures.counts.broken else 0


if __name__ == "__main__":
    sys.exit(main())
