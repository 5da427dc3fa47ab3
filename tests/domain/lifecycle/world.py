"""A Novita that lags, errs and loses answers, as plainly as the domain can be tried against it."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gpukeeper.domain.errors import (
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaRejected,
    NovitaUnavailable,
    OutcomeUnknown,
    OutOfStock,
)
from gpukeeper.domain.instances import Command
from gpukeeper.domain.machines import Observation, Phase, SpotSignal
from tests.domain.builders import WORDS, requested

NAME = requested().novita_name


class Fate(StrEnum):
    """What becomes of a call that asks Novita to change something."""

    ACCEPTED = "accepted"
    DONE_UNHEARD = "done, answer lost"
    UNHEARD = "not done, answer lost"
    DONE_AND_REFUSED = "done, answered with invalid state change"
    REFUSED = "refused"
    OUT_OF_STOCK = "out of stock"
    UNAVAILABLE = "unavailable"


_DONE = {Fate.ACCEPTED, Fate.DONE_UNHEARD, Fate.DONE_AND_REFUSED}
_BEGINS = {
    Command.START: Phase.STARTING,
    Command.STOP: Phase.GOING_DOWN,
    Command.RESTART: Phase.STARTING,
    Command.DELETE: Phase.GOING,
}
_LEADS_TO = {
    Phase.PREPARING: Phase.UP,
    Phase.STARTING: Phase.UP,
    Phase.UNKNOWN: Phase.UP,
    Phase.GOING_DOWN: Phase.DOWN,
    Phase.GOING: Phase.GONE,
}


@dataclass(slots=True)
class Machine:
    """One machine at Novita; it is in no answer before ``visible_at``."""

    novita_id: str
    created_at: datetime
    visible_at: datetime
    phase: Phase = Phase.PREPARING
    error: str = ""
    signal: SpotSignal = SpotSignal.NONE
    shown: list[Observation] = field(default_factory=list)

    @property
    def is_alive(self) -> bool:
        """Whether it costs money."""
        return self.phase is not Phase.GONE

    def is_shown(self, now: datetime) -> bool:
        """Whether Novita's answers hold it."""
        return self.is_alive and now >= self.visible_at

    def look(self, now: datetime) -> Observation:
        """Return what Novita says of it."""
        said = Observation(
            self.novita_id,
            NAME,
            WORDS[self.phase],
            self.phase,
            now,
            error=self.error,
            spot_signal=self.signal,
            created_at=self.created_at,
        )
        self.shown.append(said)
        return said

    def look_back(self, now: datetime, age: int) -> Observation:
        """Return what Novita said of it some looks ago, as if it were said now."""
        return replace(self.shown[-min(age, len(self.shown))], at=now)


@dataclass(slots=True)
class Novita:
    """All machines that were ever bought."""

    machines: list[Machine] = field(default_factory=list)

    @property
    def alive(self) -> list[Machine]:
        """The machines that cost money."""
        return [machine for machine in self.machines if machine.is_alive]

    def find(self, novita_id: str) -> Machine:
        """Return the machine, dead or alive."""
        return next(machine for machine in self.machines if machine.novita_id == novita_id)

    def sell(self, fate: Fate, now: datetime, lag: timedelta) -> str | NovitaError:
        """Sell a machine, or not; return its id, or what is answered instead."""
        novita_id = f"m{len(self.machines) + 1}"
        if fate in _DONE:
            self.machines.append(Machine(novita_id, now, now + lag))
        answers: dict[Fate, str | NovitaError] = {
            Fate.ACCEPTED: novita_id,
            Fate.REFUSED: InsufficientBalance(),
            Fate.OUT_OF_STOCK: OutOfStock(),
            Fate.UNAVAILABLE: NovitaUnavailable(),
        }
        return answers.get(fate, OutcomeUnknown())

    def change(
        self, novita_id: str, verb: Command, fate: Fate, now: datetime
    ) -> NovitaError | None:
        """Do what a verb asks, or not; return what is answered."""
        machine = self.find(novita_id)
        if not machine.is_shown(now):
            return NovitaNotFound()
        if fate in _DONE:
            machine.phase = _BEGINS[verb]
            machine.error = ""
        answers: dict[Fate, NovitaError | None] = {
            Fate.ACCEPTED: None,
            Fate.DONE_AND_REFUSED: InvalidStateChange(),
            Fate.REFUSED: NovitaRejected(),
            Fate.OUT_OF_STOCK: OutOfStock(),
            Fate.UNAVAILABLE: NovitaUnavailable(),
        }
        return answers.get(fate, OutcomeUnknown())

    def go_on(self) -> None:
        """Let every machine take the next step of what it is doing, with nothing in its way."""
        for machine in self.alive:
            machine.phase = _LEADS_TO.get(machine.phase, machine.phase)
            machine.error, machine.signal = "", SpotSignal.NONE
