"""The nouns: what was ordered, what we know of the machine, and what Novita says of it.

Money is :class:`~decimal.Decimal` US dollars; ``price_per_hour`` is always for all GPUs together.
Times are aware UTC datetimes ending in ``_at``.  Everything is frozen: a change is a new value.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

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


class Phase(StrEnum):
    """What one of Novita's status words means, free of Novita's vocabulary."""

    PREPARING = "preparing"
    STARTING = "starting"
    UP = "up"
    GOING_DOWN = "going_down"
    DOWN = "down"
    GOING = "going"
    GONE = "gone"
    UNKNOWN = "unknown"


class SpotSignal(StrEnum):
    """What Novita says about taking a spot machine back."""

    NONE = "none"
    NOTIFIED = "notified"
    RECLAIMING = "reclaiming"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a port of a running machine is reached; ``url`` is ``host:port`` for tcp."""

    port: int
    type: str
    url: str


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
class Observation:
    """What Novita said of one machine, and when it said so.

    ``word`` is Novita's status as written; ``phase`` is what it means.  ``price_per_hour`` is
    ``None`` where Novita does not say.  ``error`` is empty while all is well; ``started_at`` is the
    last start, whoever asked for it.  It never holds a
    secret: passwords and environment values stay in the Novita client.
    """

    novita_id: str
    name: str
    word: str
    phase: Phase
    at: datetime
    error: str = ""
    spot_signal: SpotSignal = SpotSignal.NONE
    reclaim_at: datetime | None = None
    endpoints: tuple[Endpoint, ...] = ()
    ssh_command: str = ""
    cluster_id: str = ""
    cluster_name: str = ""
    product_id: str = ""
    product_name: str = ""
    image_url: str = ""
    gpu_num: int = 0
    rootfs_size_gb: int = 0
    billing_mode: str = ""
    price_per_hour: Decimal | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None

    @property
    def region(self) -> str:
        """Return the region as orders name it, without what Novita says beside it."""
        return self.cluster_name.split(" ", 1)[0] or self.cluster_id


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at every machine of the account; only a complete one can show an absence.

    ``ids`` are Novita's of all machines; ``machines`` are those of them that were wanted.
    """

    ids: Set[str]
    machines: tuple[Observation, ...]
    is_complete: bool
    at: datetime
    calls: int


@dataclass(frozen=True, slots=True)
class ConnectionDetails:
    """How to reach a running machine; the only place where its password is shown."""

    endpoints: tuple[Endpoint, ...]
    ssh_command: str
    ssh_password: str = field(default="", repr=False)


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
    "invalid state change", the last of which was ``objection``: a look is to show whether it was
    done all the same.  ``refusal`` says that Novita refused it for good, and in which words.
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
    """What an instance was before its owner's last wish, and is again if Novita refuses it."""

    status: Status
    desired: DesiredState
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


# What Novita can still take back: what has ended costs nothing, what failed is a matter of its own.
_RECLAIMABLE = frozenset({Status.CREATING, Status.STARTING, Status.RUNNING})


@dataclass(frozen=True, slots=True)
class Instance:
    """One GPU machine that someone ordered from us: the whole row.

    ``wanted`` is the start or restart that the owner asked for and that Novita has not accepted
    yet.  ``doubts`` counts looks that contradict the status without being believed yet, ``misses``
    the absences that Novita has confirmed; ``confirm_at`` is when it is to be asked about this
    machine alone; ``gone_at`` is when Novita confirmed that the machine no longer exists.
    ``machine_started_at`` is the last start that Novita showed: how to reach the machine is another
    after each.  ``unlisted_at`` is when a complete listing left the machine out, or showed it as
    removed, and nothing has shown it since; ``has_reappeared`` says that it was taken for gone once
    and was not.  ``name_at_novita`` is the machine's name where it is not the one that was sent.
    ``prior`` is what the instance was before its owner's last wish.
    ``seen_fingerprint`` stands for the last observation that was taken in, so that an equal one
    costs nothing.  ``failures`` counts temporary errors in a row.
    ``try_at`` is when an order is tried again that Novita could not take yet.
    ``has_lost_answer`` says that a purchase was not answered, so that a machine of exactly this
    name is ours; ``surplus`` are those that were found beside the one that is kept.
    ``price_per_hour`` is what Novita shows, once it has shown one; ``gpu_off_at`` is since when
    it shows the machine exited, so that its GPUs cost nothing.
    ``traceparent`` is the place in a trace (W3C Trace Context) of what its owner asked for last.
    """

    id: str
    novita_name: str
    order: Order
    status: Status
    desired: DesiredState
    created_at: datetime
    deadline_at: datetime
    reason: Reason | None = None
    novita_id: str | None = None
    product_id: str | None = None
    product_name: str | None = None
    cluster_id: str | None = None
    region: str | None = None
    image_url: str | None = None
    price_per_hour: Decimal | None = None
    endpoints: tuple[Endpoint, ...] = ()
    ssh_command: str | None = None
    attempts: tuple[Attempt, ...] = ()
    buying: PurchaseIntent | None = None
    asked: LastCommand | None = None
    wanted: Command | None = None
    accepted_at: datetime | None = None
    started_at: datetime | None = None
    running_at: datetime | None = None
    deleted_at: datetime | None = None
    gone_at: datetime | None = None
    novita_status: str | None = None
    phase: Phase | None = None
    gpu_off_at: datetime | None = None
    observed_at: datetime | None = None
    spot_signal: SpotSignal = SpotSignal.NONE
    reclaim_at: datetime | None = None
    doubts: int = 0
    machine_started_at: datetime | None = None
    seen_fingerprint: str | None = None
    misses: int = 0
    confirm_at: datetime | None = None
    try_at: datetime | None = None
    due_at: datetime | None = None
    failures: int = 0
    has_lost_answer: bool = False
    surplus: tuple[Duplicate, ...] = ()
    traceparent: str | None = None
    unlisted_at: datetime | None = None
    has_reappeared: bool = False
    name_at_novita: str | None = None
    prior: PriorState | None = None

    @property
    def is_watched(self) -> bool:
        """Whether a machine may exist at Novita that belongs to this row."""
        return self.novita_id is not None and self.gone_at is None

    @property
    def may_be_billed(self) -> bool:
        """Whether a machine may cost money: one that is known, or that nobody answered for.

        From the intent on, whoever reads the row cannot know whether Novita has sold by now.
        """
        return self.is_watched or self.buying is not None or bool(self.surplus_ids)

    @property
    def is_above_limit(self) -> bool:
        """Whether the machine costs more than its order allows."""
        limit, price = self.order.max_price_per_hour, self.price_per_hour
        return self.is_watched and limit is not None and price is not None and price > limit

    @property
    def has_reclaim_notice(self) -> bool:
        """Whether Novita has said that it takes the machine back, and has not done so yet.

        A planned time is a notice, whatever the word beside it says, and a notice may come without
        a time (API notes §8).
        """
        is_told = self.reclaim_at is not None or self.spot_signal is not SpotSignal.NONE
        is_over = self.spot_signal is SpotSignal.TERMINATED or not self.is_watched
        return is_told and not is_over and self.status in _RECLAIMABLE

    @property
    def surplus_ids(self) -> tuple[str, ...]:
        """Novita's ids of the machines that are still to be deleted beside the one we keep."""
        return tuple(machine.novita_id for machine in self.surplus if machine.gone_at is None)
