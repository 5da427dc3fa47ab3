"""An instance and its parts: the order, the purchase, the machine, the watch, the commands.

Money is :class:`~decimal.Decimal` US dollars; ``price_per_hour`` is always for all GPUs together.
Times are aware UTC datetimes ending in ``_at``.  Everything is frozen: a change is a new value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from gpukeeper.domain.machines import Machine, SpotSignal
from gpukeeper.domain.products import BillingMode, Offer, Port


class OnFailure(StrEnum):
    """What happens to a machine that did not come up."""

    KEEP = "keep"
    DELETE = "delete"


class Status(StrEnum):
    """Where our instance is."""

    REQUESTED = "requested"
    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DELETING = "deleting"
    DELETED = "deleted"
    FAILED = "failed"
    RECLAIMED = "reclaimed"
    LOST = "lost"


class DesiredState(StrEnum):
    """What the owner wants of the instance now."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Command(StrEnum):
    """A change that Novita was asked to make to an existing machine."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked; defaults are the contract's (§1.4-1.6)."""

    name: str
    product_name: str
    template_id: str
    gpu_num: int = 1
    rootfs_size_gb: int = 60
    billing_mode: BillingMode = BillingMode.SPOT
    region: str = ""
    regions: tuple[str, ...] = ()
    max_price_per_hour: Decimal | None = None
    envs: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[Port, ...] | None = None
    command: str | None = None
    webhook_url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    startup_timeout: timedelta = timedelta(seconds=600)
    on_failure: OnFailure = OnFailure.KEEP


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an instance is in its status: a stable code and a sentence.

    ``novita_reason`` is Novita's own word where it refused, ``retry_at`` when it said that it
    may be asked again.
    """

    code: str
    message: str
    novita_reason: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to buy an offer; ``outcome`` is ``accepted`` or the code of the refusal."""

    product_id: str
    region: str
    price_per_hour: Decimal
    outcome: str
    detail: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class LastCommand:
    """The last change that Novita was asked to make, so that it is neither lost nor repeated.

    ``is_acknowledged`` says that Novita answered with a success.  ``objections`` counts the answers
    "invalid state change", the last of which was ``objection``: an observation is to show whether
    it was done all the same.  ``refusal`` says that Novita refused it for good, and in which words.
    """

    verb: Command
    at: datetime
    times: int = 1
    is_acknowledged: bool = False
    objections: int = 0
    objection: str = ""
    refusal: Reason | None = None


@dataclass(frozen=True, slots=True)
class PriorState:
    """What an instance was before its owner's last command, and is again if Novita refuses that."""

    status: Status
    desired_state: DesiredState
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class PurchaseIntent:
    """The intent to buy an offer, stored before Novita is asked and removed with its answer.

    A row found with one has lost the answer: it is looked up by name until ``lookup_until``
    (``None`` while Novita is asked to sell) before anything is bought again.
    """

    offer: Offer
    since: datetime
    lookup_until: datetime | None = None
    lookup_at: datetime | None = None
    lookups: int = 0


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A machine that an order bought and does not need, on its way to being deleted.

    A purchase whose answer was lost may have bought one although another was bought in its
    place.  It is tried again at ``try_at`` until Novita does not know it any more
    (``gone_at``); ``is_acknowledged`` says that Novita has accepted to delete it.
    """

    novita_id: str
    found_at: datetime
    try_at: datetime
    tries: int = 0
    is_acknowledged: bool = False
    gone_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Purchase:
    """How an instance's machine is bought.

    ``try_at`` is when an order is tried again that Novita could not take yet.  ``has_lost_answer``
    says that a purchase was not answered, so that every machine of exactly this name is ours.
    """

    attempts: tuple[Attempt, ...] = ()
    intent: PurchaseIntent | None = None
    try_at: datetime | None = None
    has_lost_answer: bool = False
    accepted_at: datetime | None = None

    def close(self, attempt: Attempt) -> "Purchase":
        """Return the purchase after Novita has answered the intent."""
        return replace(self, intent=None, attempts=(*self.attempts, attempt))


@dataclass(frozen=True, slots=True)
class Watch:
    """What the sweep keeps in mind of a machine.

    ``seen_fingerprint`` stands for the last observation that was taken in, so that an equal one
    costs nothing.  ``doubts`` counts observations that contradict the status without being believed
    yet, ``misses`` the absences that Novita has confirmed, ``failures`` temporary errors in a row.
    ``confirm_at`` is when Novita is to be asked about this machine alone.  ``unlisted_at`` is when
    a complete listing left the machine out, or showed it as removed, and nothing has shown it
    since; ``has_reappeared`` says that it was taken for gone once and was not.
    """

    observed_at: datetime | None = None
    seen_fingerprint: str | None = None
    doubts: int = 0
    misses: int = 0
    failures: int = 0
    confirm_at: datetime | None = None
    unlisted_at: datetime | None = None
    has_reappeared: bool = False

    def look_again(self) -> "Watch":
        """Return the watch that takes in the next observation, even if it says the same."""
        return replace(self, seen_fingerprint=None)

    def show(self) -> "Watch":
        """Return the watch of a machine that is there; the next observation is taken in."""
        return replace(self.look_again(), misses=0, unlisted_at=None)

    def confirm(self, at: datetime) -> "Watch":
        """Return the watch that has Novita asked about this machine alone, at the latest then."""
        return replace(self, confirm_at=self.confirm_at or at)

    def renew(self) -> "Watch":
        """Return the watch after a command: what was doubted before it is overtaken."""
        return replace(self.look_again(), confirm_at=None, doubts=0, failures=0)


@dataclass(frozen=True, slots=True)
class Instance:
    """One GPU machine that someone ordered from us: the whole row.

    ``pending_command`` is the start or restart that the owner asked for and that Novita has not
    accepted yet, ``last_command`` the one that Novita was asked last; ``prior`` is what the
    instance was before its owner's last command.  ``duplicates`` are the machines that were found
    beside the one that is kept.  ``traceparent`` is the place in a trace (W3C Trace Context) of
    what its owner asked for last.
    """

    id: str
    novita_name: str
    order: Order
    status: Status
    desired_state: DesiredState
    created_at: datetime
    deadline_at: datetime
    reason: Reason | None = None
    purchase: Purchase = field(default_factory=Purchase)
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    duplicates: tuple[Duplicate, ...] = ()
    pending_command: Command | None = None
    last_command: LastCommand | None = None
    prior: PriorState | None = None
    started_at: datetime | None = None
    running_at: datetime | None = None
    deleted_at: datetime | None = None
    due_at: datetime | None = None
    traceparent: str | None = None

    @property
    def is_watched(self) -> bool:
        """Whether a machine may exist at Novita that belongs to this row."""
        return self.machine.novita_id is not None and self.machine.gone_at is None

    @property
    def is_to_be_stopped(self) -> bool:
        """Whether it is stopping because its owner wants it to."""
        return self.status is Status.STOPPING and self.desired_state is DesiredState.STOPPED

    @property
    def may_be_billed(self) -> bool:
        """Whether a machine may cost money: one that is known, or that nobody answered for.

        From the intent on, a reader of the row cannot know whether Novita has sold by now.
        """
        return self.is_watched or self.purchase.intent is not None or bool(self.duplicate_ids)

    @property
    def is_above_limit(self) -> bool:
        """Whether the machine costs more than its order allows."""
        limit, price = self.order.max_price_per_hour, self.machine.price_per_hour
        return self.is_watched and limit is not None and price is not None and price > limit

    @property
    def has_reclaim_notice(self) -> bool:
        """Whether Novita has said that it takes the machine back, and has not done so yet.

        What has ended costs nothing, and what failed is a matter of its own.
        """
        is_over = self.machine.spot_signal is SpotSignal.TERMINATED or not self.is_watched
        is_running = self.status in (Status.CREATING, Status.STARTING, Status.RUNNING)
        return self.machine.is_reclaim_signalled and not is_over and is_running

    @property
    def duplicate_ids(self) -> tuple[str, ...]:
        """Novita's ids of the machines that are still to be deleted beside the one we keep."""
        return tuple(machine.novita_id for machine in self.duplicates if machine.gone_at is None)
