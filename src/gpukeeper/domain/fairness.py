"""How many deliveries may be under way to whom, so that a slow receiver delays nobody else.

A receiver is a host and port with any number of URLs.  It is *prompt* when its last attempt was
over quickly, delivered or not; one that is unknown or was slow has a small share, and all of
those together have half of the workers at most.  The other half is there for prompt ones only.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

# What a prompt receiver may have under way however few workers are free.  It may have a quarter of
# those that are, so that a burst reaches it at once; when receivers begin to hang, one after the
# other finds less to hold.
PER_PROMPT = 8
_PROMPT_PART = 4
# More than one, so that a receiver that needs its time is not sent everything one by one.
PER_SLOW = 2
# An attempt that is over by then hardly holds up its worker.
PROMPT_WITHIN = timedelta(seconds=1)

_PLACE = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^]]*]|[^/?#:]*)(?P<port>:[0-9]+)?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def receiver_of(url: str) -> str:
    """Return the host and port of a URL in its normal form; other texts stand for themselves."""
    place = _PLACE.match(url)
    if place is None:
        return url
    return place["host"] + (place["port"] or _DEFAULT_PORTS[place["scheme"]])


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is under way, and so who may have how much more.

    ``workers`` is their number and ``free`` how many of them have nothing to do; ``under_way`` has
    the receivers that hold some.
    """

    workers: int
    free: int
    under_way: Mapping[str, int]
    prompt: Collection[str]

    @property
    def per_prompt(self) -> int:
        """How many a prompt receiver may have under way if no other begins anything."""
        return self._per_prompt(self.free)

    def of(self, receiver: str, *, begun: int = 0) -> int:
        """Return how many more of its deliveries may begin, not counting the common limits.

        ``begun`` is how many begin now, to whomever.
        """
        share = self._per_prompt(self.free - begun) if receiver in self.prompt else PER_SLOW
        return max(share - self.under_way.get(receiver, 0), 0)

    @property
    def of_slow(self) -> int:
        """How many more may begin to all receivers together that are not prompt."""
        held = sum(n for name, n in self.under_way.items() if name not in self.prompt)
        return max(self.workers // 2 - held, 0)

    @property
    def full(self) -> list[str]:
        """The receivers that hold all that they may."""
        return [receiver for receiver in self.under_way if not self.of(receiver)]

    @property
    def is_tight(self) -> bool:
        """Whether anybody, known or not, may have to wait for an attempt to end."""
        return not self.free or not self.of_slow or bool(self.full)

    def choose(self, due: Iterable[tuple[str, str]]) -> list[str]:
        """Return which to begin of (id, receiver), which come in the order of their claims."""
        chosen: list[str] = []
        begun: dict[str, int] = {}
        of_slow = self.of_slow
        for delivery_id, receiver in due:
            is_slow = receiver not in self.prompt
            left = self.of(receiver, begun=len(chosen)) - begun.get(receiver, 0)
            has_room = left > 0 and (of_slow or not is_slow)
            if has_room and len(chosen) < self.free:
                chosen.append(delivery_id)
                begun[receiver] = begun.get(receiver, 0) + 1
                of_slow -= is_slow
        return chosen

    def _per_prompt(self, free: int) -> int:
        return max(PER_PROMPT, free // _PROMPT_PART)
