"""The simulated Novita of a test: what it is told to do, and what it witnessed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from gpukeeper.simulator.machines.interventions import ActionDetails, perform_action
from gpukeeper.simulator.machines.machine import Machine
from gpukeeper.simulator.machines.scripted_fates import Fate
from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from gpukeeper.simulator.novita_api.simulator_server import Simulator
from gpukeeper.simulator.simulator_settings import PHASE_SECONDS, Settings

# Every phase passes at once, and nothing happens that a test did not ask for.
QUICK = Settings(
    phase_seconds=dict.fromkeys(PHASE_SECONDS, (0.02, 0.05)),
    spot_lifetime_seconds=0,
    balance_usd=10_000,
)

# Where machines stay by themselves.
_SETTLED = frozenset({"running", "exited", "gone"})


@dataclass(frozen=True, slots=True)
class Novita:
    """A simulator on loopback; everything here may be called while it serves."""

    simulator: Simulator
    settings: Settings

    @property
    def url(self) -> str:
        """What the service takes for NOVITA_BASE_URL."""
        return self.simulator.url

    def fault(self, kind: Any, route: Any = "*", **details: Any) -> None:
        """Let requests go wrong."""
        world = self.simulator.world
        with world.lock:
            world.faults.add(Fault(kind=kind, route=route, **details), world.now())

    def recover(self) -> None:
        """Let nothing go wrong any more."""
        with self.simulator.world.lock:
            self.simulator.world.faults.clear()

    def fate(self, kind: Any, **details: Any) -> None:
        """Decide what happens to the machines that are bought next."""
        with self.simulator.world.lock:
            self.simulator.world.fates.add(Fate(kind=kind, **details))

    def switch(self, **settings: Any) -> None:
        """Change how Novita behaves until the end of the test."""
        world = self.simulator.world
        with world.lock:
            world.settings = replace(world.settings, **settings)

    def act(self, novita_id: str, action: str, **details: Any) -> None:
        """Do what the platform, or a person in the console, does to a machine."""
        world = self.simulator.world
        with world.lock:
            perform_action(world, world.machines[novita_id], action, ActionDetails(**details))

    def machine(self, novita_id: str) -> Machine:
        """Return a machine that was bought."""
        with self.simulator.world.lock:
            return self.simulator.world.machines[novita_id]

    def machines(self, name: str = "") -> list[Machine]:
        """Return the machines that exist now and were ordered under this name."""
        world = self.simulator.world
        with world.lock:
            now = world.now()
            return [
                machine
                for machine in world.machines.values()
                if machine.at(now) is not None and machine.order.name.startswith(name)
            ]

    def visits(self, route: str | None = None) -> tuple[RequestRecord, ...]:
        """Return the requests that Novita has had, oldest first."""
        with self.simulator.world.lock:
            return self.simulator.world.journal.requests(route=route)

    def have_struck(self) -> bool:
        """Whether every fault has struck, as often as it should or at all."""
        with self.simulator.world.lock:
            rules = self.simulator.world.faults.rules()
            return all(rule.done >= (rule.fault.times or 1) for rule in rules)

    def clean_up(self) -> None:
        """Undo what a test has changed; whatever was still coming up comes up."""
        world = self.simulator.world
        with world.lock:
            world.faults.clear()
            world.fates.clear()
            world.settings = self.settings
            now = world.now()
            for machine in list(world.machines.values()):
                is_there = machine.at(now) is not None
                if is_there and machine.moments[-1].status not in _SETTLED:
                    perform_action(world, machine, "set", ActionDetails(status="running"))


@contextmanager
def simulating(settings: Settings = QUICK) -> Iterator[Novita]:
    """Simulate Novita for as long as the block lasts."""
    with Simulator(settings) as simulator:
        yield Novita(simulator, settings)
