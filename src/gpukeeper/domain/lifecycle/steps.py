"""The one thing that is to be done next for an instance: what a rule names and the engine does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gpukeeper.domain.instances import Command, Instance


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until then, or until something else happens."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """Change the freshest row, with nothing asked of Novita unless ``is_confirmed_first``."""

    change: Callable[[Instance, datetime], Instance]
    is_confirmed_first: bool = False


@dataclass(frozen=True, slots=True)
class ChooseOffer:
    """Rank what is for sale and store the intent to buy the best offer."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Look for the machine by its name: the answer to a purchase was lost."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Ask Novita about this machine alone."""


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Ask Novita to change the machine."""

    command: Command


@dataclass(frozen=True, slots=True)
class DeleteDuplicate:
    """Ask Novita to delete a machine that the order does not need, and whether it is gone."""

    novita_id: str


Step = Wait | ChangeStatus | ChooseOffer | LookUp | Confirm | SendCommand | DeleteDuplicate
