"""Every switch of the simulator, its default and its meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from gpukeeper.simulator.json_codec import BadInput

SecondsRange = tuple[float, float]

# How long each phase lasts: a number of seconds drawn between the two.  Novita promises nothing; a
# first boot takes from seconds to minutes, by image size (Novita API notes §4, §16.2).  The second
# pair is for a demonstration: a boot of about four seconds, long enough to be watched.
_PHASES: Mapping[str, tuple[SecondsRange, SecondsRange]] = {
    "pending": ((0, 2), (0.2, 0.4)),
    "toCreate": ((0, 1), (0.1, 0.3)),
    "creating": ((1, 10), (0.8, 1.2)),
    "pulling": ((5, 120), (1.6, 2.4)),
    "starting": ((1, 5), (0.2, 0.4)),
    "toStart": ((0, 2), (0.1, 0.3)),
    "toStop": ((0, 2), (0.1, 0.3)),
    "stopping": ((1, 10), (0.5, 1)),
    "toRestart": ((0, 2), (0.1, 0.3)),
    "restarting": ((1, 10), (0.5, 1)),
    "toRemove": ((0, 2), (0.1, 0.3)),
    "removing": ((1, 5), (0.5, 1)),
    "removed": ((5, 60), (1, 2)),
    "reclaiming": ((5, 30), (1, 2)),
    "freezing": ((60, 60), (2, 2)),
}
PHASE_SECONDS = {phase: usual for phase, (usual, _) in _PHASES.items()}
FAST_PHASE_SECONDS = {phase: fast for phase, (_, fast) in _PHASES.items()}


def _is(default: Any, meaning: str) -> Any:
    """Declare a switch: its default and its sentence, which the documentation repeats."""
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this Novita behaves; durations are simulated seconds, prices US dollars."""

    # Read at a start or a reset only.
    seed: int = _is(1, "seed of every draw: ids, durations, probabilities (read at reset)")
    clock: Literal["real", "manual"] = _is(
        "real", "`real` follows the wall clock, `manual` stands until moved (read at reset)"
    )
    clock_speed: float = _is(1.0, "simulated seconds per second of wall clock (read at reset)")
    clock_start: str = _is("", "RFC 3339 time to begin at; empty: now (read at reset)")
    balance_usd: float = _is(100.0, "money on the account at the beginning (read at reset)")

    # The life of a machine.
    phase_seconds: Mapping[str, SecondsRange] = _is(
        PHASE_SECONDS, "shortest and longest time of each phase; a change names only some phases"
    )
    name_max_chars: int = _is(0, "a machine's name is cut to so many characters; 0: it is kept")
    name_case: Literal["kept", "lower", "upper"] = _is(
        "kept", "what becomes of the letters of a machine's name"
    )
    auto_start: bool = _is(True, "a created machine starts by itself; false: it ends `exited`")
    boot_error_leaves: Literal["stuck", "exited"] = _is(
        "stuck", "status after a failed boot: stuck in `pulling`, or `exited`"
    )
    broken_images: tuple[str, ...] = _is(
        ("acme/does-not-exist:1.0",), "images that cannot be pulled: their machines fail to boot"
    )
    private_registries: tuple[str, ...] = _is(
        ("registry.example.com/",), "image prefixes that need a known registry credential"
    )
    process_exit: Literal["exited", "restart-loop", "running"] = _is(
        "exited", "what a machine shows when its process has ended"
    )
    start_refused_after_stop: float = _is(
        0.0, "probability that a start after a stop is INSUFFICIENT_RESOURCE"
    )
    start_refused_after_reclaim: float = _is(
        0.9, "probability that a start after a spot reclaim is INSUFFICIENT_RESOURCE"
    )
    state_change: Literal["honest", "acts-and-refuses"] = _is(
        "honest",
        "`acts-and-refuses`: start, stop, restart take effect and answer 'invalid state change'",
    )
    repeated_delete: Literal["accepted", "not-found", "invalid-state"] = _is(
        "accepted", "answer to a delete while the machine is already being removed"
    )

    # The sight of machines, and its delay.
    list_lag_seconds: float = _is(0.0, "a new machine is absent from the list for so long")
    get_lag_seconds: float = _is(0.0, "a new machine is not found by id for so long")
    list_behind_seconds: float = _is(0.0, "the list shows the world as it was so long ago")
    removed_in_get: bool = _is(False, "a removed machine that is still listed is also found by id")
    odd_status_probability: float = _is(
        0.0, "probability that a row shows a status that no documentation knows"
    )
    odd_status: str = _is("hibernating", "the status word shown then")
    clock_skew_seconds: float = _is(0.0, "Novita's timestamps are ahead of the clock by so much")
    date_skew_seconds: float = _is(
        0.0, "the `Date` header is ahead of the wall clock by so much, whatever the simulated time"
    )
    date_sent: bool = _is(True, "answers have a `Date` header")

    # The shape of responses.
    page_size_default: int = _is(10, "rows per page when `pageSize` is absent or 0")
    page_size_max: int = _is(100, "largest page; a larger `pageSize` is silently clamped")
    page_base: Literal["zero-is-one", "zero", "one"] = _is(
        "zero-is-one", "number of the first page; `zero-is-one`: pages 0 and 1 are the same"
    )
    total_as: Literal["number", "string"] = _is("number", "JSON type of `total`")
    empty_lists: Literal["list", "null", "absent"] = _is(
        "list", "how an empty list is written (templates are always `null`)"
    )
    extra_fields: bool = _is(True, "rows carry undocumented fields, one of them with a random name")
    not_found: Literal["404", "400", "404-typo"] = _is(
        "404", "how an unknown machine is answered; `404-typo` spells the reason NOT_FOUNT"
    )
    unknown_path: Literal["json", "text", "html"] = _is("json", "body of the 404 of unknown paths")

    # Spot.
    spot_guaranteed_seconds: float = _is(3600.0, "no reclaim by itself before so long a run")
    spot_lifetime_seconds: float = _is(
        86400.0, "mean time from the guarantee's end to the notice; 0: never reclaimed by itself"
    )
    spot_notice_seconds: float = _is(3600.0, "time from the notice to the reclaim")
    spot_notice: Literal["given", "none", "zero"] = _is(
        "given", "`none`: reclaimed without a word; `zero`: notified with spotReclaimTime 0"
    )
    spot_end: Literal["exited", "vanished"] = _is("exited", "a reclaimed machine stays as this")
    spot_in_get: bool = _is(True, "spot fields are in get too (documented for the list only)")

    # The market and the account.
    stock_shown: Literal["true", "always", "never"] = _is(
        "true", "what `availableDeploy` says: the stock, always true, or never"
    )
    stock_lag_seconds: float = _is(0.0, "the product list shows the stock of so long ago")
    stock_wave_gpus: int = _is(0, "finite stock moves by itself by up to so many GPUs")
    price_wave_percent: float = _is(0.0, "prices move by themselves by up to so much")
    price_step_percent: float = _is(
        0.0, "prices move by up to so much with every call for products"
    )
    price_honoured_seconds: float = _is(
        0.0, "a machine is sold at a price that was shown so lately, if it is lower"
    )
    machine_price: Literal["fixed", "start", "market"] = _is(
        "fixed", "price of a machine: that of its sale, of its latest start, or always the market's"
    )
    wave_seconds: float = _is(300.0, "how often stock and prices move")
    cuda_version: str = _is("12.8", "newest CUDA version of the hosts")
    quota_gpus: int | None = _is(None, "GPUs that may be held at once; null: no quota")
    quota_refusal: Literal[
        "CREATE_GPU_NUM_LIMIT", "RATE_LIMIT_EXCEEDED", "CREATE_INSTANCE_LIMIT"
    ] = _is("CREATE_GPU_NUM_LIMIT", "reason given beyond the quota (RATE_LIMIT_EXCEEDED is a 429)")
    disk_usd_per_gb_day: float = _is(0.005, "price of disk beyond the free 60 GB")
    settle_seconds: float = _is(3600.0, "how often the balance is settled; 0: all the time")
    api_keys: tuple[str, ...] = _is((), "accepted bearer keys; empty: any that is not empty")

    def __post_init__(self) -> None:
        faults = [*self._phase_faults(), *self._number_faults()]
        if faults:
            raise BadInput(*faults)

    @classmethod
    def fast(cls, **changes: Any) -> "Settings":
        """Return settings for a demonstration: everything takes seconds, no surprise reclaims."""
        fast = cls(
            phase_seconds=FAST_PHASE_SECONDS,
            settle_seconds=1.0,
            spot_lifetime_seconds=0.0,
            spot_notice_seconds=20.0,
        )
        return replace(fast, **changes)

    def _phase_faults(self) -> Iterator[str]:
        unknown = set(self.phase_seconds) - set(PHASE_SECONDS)
        if unknown:
            yield f"phase_seconds: unknown phases {', '.join(sorted(unknown))}"
        for phase, (shortest, longest) in self.phase_seconds.items():
            if not 0 <= shortest <= longest:
                yield f"phase_seconds: {phase} is not a span of seconds"

    def _number_faults(self) -> Iterator[str]:
        if self.page_size_default < 1 or self.page_size_max < 1:
            yield "page_size_default, page_size_max: at least 1"
        if self.clock_speed <= 0 or self.wave_seconds <= 0:
            yield "clock_speed, wave_seconds: more than 0"
        if self.clock_start and not _is_time(self.clock_start):
            yield "clock_start: an RFC 3339 time with its zone"


def meanings() -> dict[str, str]:
    """Return the sentence of every setting, by name."""
    return {item.name: str(item.metadata["meaning"]) for item in fields(Settings)}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
