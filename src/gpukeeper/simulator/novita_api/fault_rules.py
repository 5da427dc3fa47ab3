"""Which request goes wrong, and how: rules with probabilities, counts and deadlines."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal, get_args

from gpukeeper.simulator.json_codec import BadInput

RouteName = Literal[
    "*",
    "create",
    "list",
    "get",
    "start",
    "stop",
    "restart",
    "delete",
    "products",
    "clusters",
    "template",
    "templates",
    "auths",
    "balance",
]
FaultKind = Literal[
    "rate-limit",
    "error",
    "html",
    "gateway",
    "unauthorized",
    "reset",
    "timeout",
    "slow",
    "cut",
    "truncated",
    "empty",
    "wrong-type",
    "error-200",
    "empty-list",
    "short-list",
    "shift-pages",
]

ROUTE_NAMES: tuple[str, ...] = get_args(RouteName)[1:]
# The documentation repeats these sentences.
FAULT_KINDS: dict[str, str] = {
    "rate-limit": "429 `RATE_LIMIT_EXCEEDED`, with `Retry-After` if `retry_after` is given",
    "error": "`status` (500) as JSON with `reason` (UNKNOWN) and `message`",
    "html": "`status` (502) as the HTML page of a gateway",
    "gateway": "`status` (404) as JSON of a gateway's own: a `message` and a `request_id`",
    "unauthorized": "401 `UNAUTHORIZED`, as with an expired key",
    "reset": "the TCP connection is reset without an answer",
    "timeout": "no answer; the connection is closed after `seconds`, or when the client leaves",
    "slow": "the true answer, `seconds` late; the effect comes before or after the wait",
    "cut": "the connection is closed in the middle of the true answer",
    "truncated": "half of the true answer's JSON, complete as far as HTTP can tell",
    "empty": "200 with an empty body",
    "wrong-type": "the true answer, labelled `text/html`",
    "error-200": "200 with the body of an error",
    "empty-list": 'list only: `{"instances":[],"total":"0"}`',
    "short-list": "list only: the first `rows` rows of the page, `total` as it should be",
    "shift-pages": "list only: later pages skip `rows` rows, as if earlier ones had just gone",
}
# These spoil a true response, so the request always takes effect.
SPOILING = frozenset(
    {"cut", "truncated", "empty", "wrong-type", "empty-list", "short-list", "shift-pages"}
)
LIST_ONLY = frozenset({"empty-list", "short-list", "shift-pages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule.  It skips ``after`` requests, then meets each with ``probability``.

    It ends after ``times`` faults or ``for_seconds`` of simulated time, whichever is first.
    ``when`` says whether the fault comes before the request takes effect or after.
    ``seconds`` are real ones, since a client's timeout is real too.
    """

    kind: FaultKind
    route: RouteName = "*"
    when: Literal["before", "after"] = "before"
    probability: float = 1.0
    times: int | None = None
    after: int = 0
    for_seconds: float | None = None
    seconds: float = 30.0
    status: int | None = None
    reason: str = "UNKNOWN"
    message: str = "internal error"
    retry_after: float | None = None
    retry_after_as: Literal["seconds", "date"] = "seconds"
    rows: int = 1

    def __post_init__(self) -> None:
        if self.kind in LIST_ONLY and self.route not in ("*", "list"):
            raise BadInput(f"{self.kind} is for the route list only")
        if self.status is not None and not 200 <= self.status <= 599:
            raise BadInput("status: from 200 to 599")

    @property
    def takes_effect(self) -> bool:
        """Say whether the request is carried out in spite of the fault."""
        return self.when == "after" or self.kind == "slow" or self.kind in SPOILING


@dataclass(slots=True)
class FaultRule:
    """A fault that is switched on, and how often it struck so far."""

    id: int
    fault: Fault
    ends_at: datetime | None
    to_skip: int
    done: int = 0

    def is_over(self, now: datetime) -> bool:
        """Say whether it will never strike again."""
        has_struck_enough = self.fault.times is not None and self.done >= self.fault.times
        return has_struck_enough or (self.ends_at is not None and now >= self.ends_at)


class FaultBook:
    """All rules in force; for each request the first that strikes is the one that counts."""

    def __init__(self) -> None:
        self._rules: list[FaultRule] = []
        self._last_id = 0

    def add(self, fault: Fault, now: datetime) -> FaultRule:
        """Switch ``fault`` on."""
        self._last_id += 1
        lasts = None if fault.for_seconds is None else timedelta(seconds=fault.for_seconds)
        rule = FaultRule(self._last_id, fault, None if lasts is None else now + lasts, fault.after)
        self._rules.append(rule)
        return rule

    def rules(self) -> tuple[FaultRule, ...]:
        """Return every rule that was switched on and not removed, spent ones included."""
        return tuple(self._rules)

    def remove(self, rule_id: int) -> bool:
        """Switch one off; say whether it was there."""
        count = len(self._rules)
        self._rules = [rule for rule in self._rules if rule.id != rule_id]
        return len(self._rules) < count

    def clear(self) -> None:
        """Switch all off."""
        self._rules.clear()

    def draw(self, route: str, now: datetime, rng: Random) -> Fault | None:
        """Return the fault that meets this request, if any."""
        for rule in self._rules:
            fault = rule.fault
            wanted = "list" if fault.kind in LIST_ONLY else fault.route
            if rule.is_over(now) or wanted not in ("*", route):
                continue
            if rule.to_skip > 0:
                rule.to_skip -= 1
                continue
            if fault.probability < 1 and rng.random() >= fault.probability:
                continue
            rule.done += 1
            return fault
        return None
