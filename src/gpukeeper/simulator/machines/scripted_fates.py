"""The scripted fate of the machines that are created next."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from gpukeeper.simulator.novita_api.known_refusals import (
    Refusal,
    no_balance,
    out_of_stock,
    over_quota,
)

FateKind = Literal[
    "boot-error",
    "pull-forever",
    "vanish",
    "exit",
    "reclaim",
    "out-of-stock",
    "no-balance",
    "quota",
    "refuse",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to the next ``times`` machines.

    ``after_seconds`` counts from the creation for `vanish`, from `running` for `exit` and
    `reclaim`.  `refuse` answers the create call with ``http_status``, ``reason`` and ``message``;
    `boot-error` shows ``state`` and ``message`` in ``statusError``.
    """

    kind: FateKind
    times: int = 1
    after_seconds: float = 0.0
    state: str = "ImagePullFailed"
    message: str = "failed to pull image: manifest unknown"
    exited: bool | None = None
    http_status: int = 400
    reason: str = "CONFLICT"


class FateQueue:
    """A queue of fates: each creation takes the first one."""

    def __init__(self) -> None:
        self._queue: deque[Fate] = deque()

    def add(self, fate: Fate) -> None:
        """Put ``fate`` at the end of the queue."""
        if fate.times > 0:
            self._queue.append(fate)

    def take(self) -> Fate | None:
        """Take one fate from the front of the queue."""
        if not self._queue:
            return None
        fate = self._queue.popleft()
        if fate.times > 1:
            self._queue.appendleft(replace(fate, times=fate.times - 1))
        return fate

    def waiting(self) -> tuple[Fate, ...]:
        """Return those that no machine has met yet."""
        return tuple(self._queue)

    def clear(self) -> None:
        """Forget all."""
        self._queue.clear()


def find_scripted_refusal(fate: Fate, quota_reason: str) -> Refusal | None:
    """Return the refusal that ``fate`` means, ``None`` for fates that befall a machine."""
    refusals = {
        "out-of-stock": out_of_stock(),
        "no-balance": no_balance(),
        "quota": over_quota(quota_reason),
        "refuse": Refusal(fate.http_status, fate.reason, fate.message),
    }
    return refusals.get(fate.kind)
