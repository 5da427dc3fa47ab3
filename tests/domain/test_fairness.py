"""A slow receiver has its share of the workers, and all slow ones together have half."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukeeper.domain.fairness import PER_PROMPT, PER_SLOW, Capacity, receiver_of

EMPTY = Capacity(workers=40, free=30, under_way={}, prompt=frozenset({"quick"}))

_names = st.sampled_from(["quick", "brisk", "slow", "dead", "new"])
_rooms = st.builds(
    Capacity,
    workers=st.integers(0, 40),
    free=st.integers(0, 40),
    under_way=st.dictionaries(_names, st.integers(1, 10)),
    prompt=st.frozensets(_names),
)


def due(**counts: int) -> list[tuple[str, str]]:
    """Return so many deliveries of each receiver, one receiver after the other."""
    return [(f"{name}-{number}", name) for name, count in counts.items() for number in range(count)]


def chosen(room: Capacity, queue: list[tuple[str, str]]) -> dict[str, int]:
    """Return how many of each receiver's may begin."""
    receivers = dict(queue)
    return dict(Counter(receivers[delivery_id] for delivery_id in room.choose(queue)))


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("https://hooks.example/a?b=c", "hooks.example:443"),
        ("http://hooks.example/", "hooks.example:80"),
        ("https://hooks.example:80/", "hooks.example:80"),
        ("https://hooks.example:8443/?a:1", "hooks.example:8443"),
        ("https://hooks.example/a:1", "hooks.example:443"),
        ("https://hooks.example?a:1", "hooks.example:443"),
        ("http://[2606:4700::1]/", "[2606:4700::1]:80"),
        ("http://[2606:4700::1]:81/", "[2606:4700::1]:81"),
        ("not a URL", "not a URL"),
    ],
)
def test_a_receiver_is_a_host_and_a_port(url: str, receiver: str) -> None:
    assert receiver_of(url) == receiver


def test_a_prompt_receiver_may_have_more_under_way_than_another() -> None:
    assert chosen(EMPTY, due(slow=99, quick=99)) == {"slow": PER_SLOW, "quick": PER_PROMPT}


def test_a_prompt_receiver_may_have_a_quarter_of_the_free_workers() -> None:
    room = replace(EMPTY, workers=400, free=400)
    # The more begins, the less is free.
    assert chosen(room, due(quick=999)) == {"quick": 80}
    room_of_four = replace(room, prompt=frozenset("abcd"))
    turns = [(f"{name}-{number}", name) for number in range(200) for name in "abcd"]
    assert chosen(room_of_four, turns) == dict.fromkeys("abcd", 50)
    less = replace(room, free=300, under_way={"quick": 100})
    assert chosen(less, due(quick=999)) == {}
    assert chosen(replace(less, prompt={"quick", "brisk"}), due(brisk=999)) == {"brisk": 60}


def test_what_is_under_way_counts_towards_the_share() -> None:
    room = replace(EMPTY, under_way={"slow": 1, "quick": PER_PROMPT - 1})
    assert chosen(room, due(slow=99, quick=99)) == {"slow": 1, "quick": 1}
    assert room.full == []
    # It was prompt when these began.
    late = replace(EMPTY, under_way={"slow": 8, "quick": PER_PROMPT})
    assert chosen(late, due(slow=99, quick=99)) == {}
    assert late.full == ["slow", "quick"]


def test_slow_receivers_have_half_of_the_workers_together() -> None:
    fleet = {f"dead_{number}": 2 for number in range(30)}
    counts = chosen(EMPTY, due(**fleet, quick=99))
    assert counts.pop("quick") == PER_PROMPT
    assert sum(counts.values()) == 20
    held = replace(EMPTY, free=10, under_way=dict.fromkeys(fleet, 2))
    assert chosen(held, due(new=1, quick=99)) == {"quick": PER_PROMPT}
    assert held.of_slow == 0


def test_the_earlier_of_the_queue_goes_first_when_workers_are_few() -> None:
    room = replace(EMPTY, free=3)
    assert room.choose(due(quick=2, slow=2)) == ["quick-0", "quick-1", "slow-0"]
    assert replace(EMPTY, free=0).choose(due(quick=2)) == []


@given(_rooms, st.lists(_names, max_size=60))
def test_no_limit_is_ever_passed_and_no_room_is_left_unused(
    room: Capacity, names: list[str]
) -> None:
    queue = [(str(number), name) for number, name in enumerate(names)]
    begun = set(room.choose(queue))
    counts = Counter(name for number, name in queue if number in begun)
    of_slow = sum(count for name, count in counts.items() if name not in room.prompt)
    assert len(begun) <= room.free
    assert of_slow <= room.of_slow
    assert all(count <= room.of(name) for name, count in counts.items())
    for number, name in queue:
        if number not in begun:
            is_held_up = of_slow == room.of_slow and name not in room.prompt
            has_its_share = counts[name] >= room.of(name, begun=len(begun))
            assert len(begun) == room.free or has_its_share or is_held_up


def test_a_room_is_tight_when_somebody_may_have_to_wait() -> None:
    assert EMPTY.per_prompt == EMPTY.of("quick")
    assert not EMPTY.is_tight
    full = replace(EMPTY, under_way={"slow": PER_SLOW})
    assert (full.full, full.is_tight) == (["slow"], True)
    assert replace(EMPTY, free=0).is_tight
