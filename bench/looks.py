"""Waits for looks at a fleet, and tells what they cost the processes that make them."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Figure, Report, Row, text
from bench.fleet import writes
from bench.novita import API, CONTROL
from bench.processes import BenchFailed, Process, Stage, free_port
from gpukeeper.store import facts
from gpukeeper.store.db.database import Database

# A look at 100,000 machines on a busy machine; far longer is a failure.
PATIENCE_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Cost:
    """What some looks cost: ``cpu_seconds`` and ``calls`` of one, ``written`` rows of all.

    ``look_seconds`` is how long one took; ``cpu_seconds`` is what its processes used from its
    first call to its end.  ``share`` is the part of a core over the whole time between looks.
    """

    looks: int
    calls: float
    cpu_seconds: float
    look_seconds: float
    share: float
    written: dict[str, int]


@dataclass(frozen=True, slots=True)
class Watch:
    """A fleet at Novita, the store that watches it, and the processes on the store."""

    novita: Process
    database: Database
    services: Sequence[Process]

    def cost_of(self, looks: int) -> Cost:
        """Return what the next looks cost; call it when one has just ended."""
        asked, looked, seconds, written = self._calls(), *self._looked(), self._written()
        cpu, began = self._cpu_seconds(), time.monotonic()
        of_looks = sum(self.wait_for_look() for _ in range(looks))
        cpu, took = self._cpu_seconds() - cpu, time.monotonic() - began
        now_looked, now_seconds = self._looked()
        made = now_looked - looked
        if made != looks:
            raise BenchFailed(f"{made} looks instead of {looks}")
        return Cost(
            looks=made,
            calls=(self._calls() - asked) / made,
            cpu_seconds=of_looks / made,
            look_seconds=(now_seconds - seconds) / made,
            share=cpu / took,
            written={table: count - written[table] for table, count in self._written().items()},
        )

    def wait_for_look(self) -> float:
        """Wait until the next look has ended; return the CPU seconds that it took.

        Raises BenchFailed.
        """
        last, asked = self._tried_at(), self._calls()
        ends_at = time.monotonic() + PATIENCE_SECONDS
        cpu, is_looking = self._cpu_seconds(), False
        while time.monotonic() < ends_at:
            time.sleep(0.05)
            is_looking = is_looking or self._calls() != asked
            if self._tried_at() != last:
                return self._cpu_seconds() - cpu
            if not is_looking:
                cpu = self._cpu_seconds()
        raise BenchFailed("no look has ended")

    def change(self, first: int, count: int, word: str) -> None:
        """Let so many machines have another status at Novita."""
        query = f"first={first}&count={count}&word={word}"
        self.novita.http.get(f"{CONTROL}/change?{query}").raise_for_status()

    def _tried_at(self) -> object:
        with self.database.engine.connect() as connection:
            return facts.find_state(connection).tried_at

    def _written(self) -> dict[str, int]:
        with self.database.engine.connect() as connection:
            return writes(connection)

    def _calls(self) -> int:
        calls = json.loads(self.novita.http.get(f"{CONTROL}/calls").content)
        return int(calls.get(f"{API}s", 0))

    def _cpu_seconds(self) -> float:
        return sum(service.cpu_seconds for service in self.services)

    def _looked(self) -> tuple[int, float]:
        """Return how many looks were made so far, and how many seconds they took."""
        looks, seconds = 0.0, 0.0
        for service in self.services:
            for line in service.http.get("/metrics").text.splitlines():
                name, _, value = line.rpartition(" ")
                if name.startswith("gpukeeper_looks_total{"):
                    looks += float(value)
                elif name == "gpukeeper_look_duration_seconds_sum":
                    seconds += float(value)
        return int(looks), seconds


def tell(rows: Sequence[Row], figures: Sequence[Figure]) -> None:
    """Print what was measured so far: the largest fleet takes minutes, and may fail."""
    print(text(Report("", rows, figures)), file=sys.stderr, flush=True)


def start_novita(stage: Stage, machines: int, *, answer_ms: float) -> Process:
    """Start a Novita with so many machines."""
    port = free_port()
    program = ["-m", "bench.novita", str(port), str(machines), str(answer_ms)]
    novita = stage.start("novita", program, port)
    novita.wait_until(f"{CONTROL}/calls")
    return novita
