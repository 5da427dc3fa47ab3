"""The nouns: a machine, what Novita says of it, and how it is reached.

Money is :class:`~decimal.Decimal` US dollars; ``price_per_hour`` is always for all GPUs together.
"""

from collections.abc import Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


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
class Observation:
    """What Novita said of one machine, and when it said so.

    ``word`` is Novita's status as written; ``phase`` is what it means.  ``price_per_hour`` is
    ``None`` where Novita does not say.  ``error`` is empty while all is well; ``started_at`` is the
    last start.  It never holds a secret: passwords and environment values stay in the Novita
    client.
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
    """Every machine of the account as listed; only a complete listing can show an absence.

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
class Machine:
    """The machine at Novita, as far as it is known.

    ``name_at_novita`` is its name where that is not the one that was sent.  ``price_per_hour`` is
    what Novita shows, once it has shown one.  How to reach the machine changes with every start, of
    which ``last_start_at`` is the last that Novita showed.  ``gpu_off_at`` is since when Novita
    shows the machine exited, so that its GPUs cost nothing; ``gone_at`` is when Novita confirmed
    that it no longer exists.
    """

    novita_id: str | None = None
    name_at_novita: str | None = None
    product_id: str | None = None
    product_name: str | None = None
    cluster_id: str | None = None
    region: str | None = None
    image_url: str | None = None
    price_per_hour: Decimal | None = None
    endpoints: tuple[Endpoint, ...] = ()
    ssh_command: str | None = None
    novita_status: str | None = None
    phase: Phase | None = None
    spot_signal: SpotSignal = SpotSignal.NONE
    reclaim_at: datetime | None = None
    last_start_at: datetime | None = None
    gpu_off_at: datetime | None = None
    gone_at: datetime | None = None

    @property
    def is_reclaim_signalled(self) -> bool:
        """Whether Novita has said that it takes the machine back.

        A planned time is a notice, whatever the word beside it says, and a notice may come without
        a time (API notes §8).
        """
        return self.spot_signal is not SpotSignal.NONE or self.reclaim_at is not None

    def identify(self, seen: Observation) -> "Machine":
        """Return the machine as the one that Novita shows."""
        return replace(
            self,
            novita_id=seen.novita_id,
            product_id=seen.product_id or None,
            product_name=seen.product_name or None,
            cluster_id=seen.cluster_id or None,
            price_per_hour=seen.price_per_hour,
        )

    def disconnect(self) -> "Machine":
        """Return the machine without the ways to reach it: they change on every start."""
        return replace(self, endpoints=(), ssh_command=None)

    def end(self, now: datetime) -> "Machine":
        """Return the machine as gone."""
        return replace(self.disconnect(), novita_status=None, gone_at=self.gone_at or now)
