"""What this process knows of the receivers: what is under way to each, and who is prompt."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

from gpukeeper.domain.fairness import PROMPT_WITHIN, Capacity, receiver_of

# More receivers than anyone sends to at the same time; each costs a name, here and in statements.
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class ReceiverStats:
    """Counts deliveries under way, and remembers the receivers whose last attempt was prompt."""

    _under_way: Counter[str] = field(default_factory=Counter)
    # A dict for its order: who was heard of last is at its end.
    _prompt: dict[str, None] = field(default_factory=dict)

    def room(self, *, workers: int, free: int) -> Capacity:
        """Return what may begin now."""
        return Capacity(workers, free, dict(self._under_way), frozenset(self._prompt))

    def begin(self, url: str) -> None:
        """Count a delivery that begins."""
        self._under_way[receiver_of(url)] += 1

    def end(self, url: str) -> None:
        """Count a delivery that is over."""
        receiver = receiver_of(url)
        self._under_way[receiver] -= 1
        if not self._under_way[receiver]:
            del self._under_way[receiver]

    def learn(self, url: str, *, took: timedelta) -> None:
        """Note how long an attempt took."""
        receiver = receiver_of(url)
        self._prompt.pop(receiver, None)
        if took <= PROMPT_WITHIN:
            self._prompt[receiver] = None
        if len(self._prompt) > _REMEMBERED:
            del self._prompt[next(iter(self._prompt))]
