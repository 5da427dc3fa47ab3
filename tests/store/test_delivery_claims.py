"""Which deliveries are claimed: a fair share of each receiver, longest due first, by one."""

import itertools
from dataclasses import replace
from datetime import datetime

import pytest

from gpukeeper.domain.fairness import PER_PROMPT, PER_SLOW, Capacity, receiver_of
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import deliveries, leases, tables
from gpukeeper.store.db.database import Database
from gpukeeper.store.leases import Lease
from tests.store.rows import (
    LEASE,
    NOW,
    OTHER_LEASE,
    PLENTY,
    SECOND,
    an_instance,
    an_outbox,
    changed,
    claimed,
    every_delivery,
    stored,
    tried,
)

FAST = "https://fast.example/"
SLOW = "https://slow.example/"


class _Queue:
    """Stores deliveries, each of an instance of its own and a second after the one before."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers = itertools.count(1)

    async def add(self, url: str, count: int) -> None:
        outbox = an_outbox(url)
        for number in itertools.islice(self._numbers, count):
            await stored(self._database, an_instance(number), outbox=outbox)
            at = NOW + (number - 1000) * SECOND
            row = f"ins_{number:06}"
            await changed(self._database, row, _created, outbox=outbox, now=at)


def _created(row: Instance) -> Instance:
    return replace(row, status=Status.CREATING)


@pytest.fixture
def queue(database: Database) -> _Queue:
    return _Queue(database)


async def _urls(database: Database, room: Capacity) -> list[str]:
    return [delivery.url for delivery in await claimed(database, room=room)]


async def _next_due_at(
    database: Database, now: datetime = NOW, *, room: Capacity = PLENTY
) -> datetime | None:
    return await database.read(lambda c: deliveries.next_due_at(c, now, room=room))


def _room(
    *prompt: str, free: int = 30, workers: int = 256, busy: dict[str, int] | None = None
) -> Capacity:
    under_way = {receiver_of(url): held for url, held in (busy or {}).items()}
    return Capacity(workers, free, under_way, [receiver_of(url) for url in prompt])


async def test_without_deliveries_there_is_nothing_to_claim(database: Database) -> None:
    assert await claimed(database) == []
    assert await _next_due_at(database) is None


async def test_one_receiver_gets_its_share_and_no_more_however_much_is_due(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 5)
    await queue.add(FAST, PER_PROMPT + 2)
    assert await _urls(database, _room(FAST)) == [SLOW] * 2 + [FAST] * PER_PROMPT


async def test_the_urls_of_one_receiver_have_one_share_together(
    database: Database, queue: _Queue
) -> None:
    for number in range(5):
        await queue.add(f"{SLOW}?id={number}", 1)
        await queue.add(f"{FAST}?id={number}", PER_PROMPT // 4)
    urls = await _urls(database, _room(FAST))
    assert [url.partition("?")[0] for url in urls if url.startswith(SLOW)] == [SLOW] * 2
    assert len(urls) == 2 + PER_PROMPT


async def test_receivers_take_turns_when_there_is_not_room_for_all(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 4)
    await queue.add(FAST, 4)
    room = _room(SLOW, FAST, free=4)
    assert sorted(await _urls(database, room)) == [FAST, FAST, SLOW, SLOW]


async def test_receivers_that_are_prompt_go_before_the_others(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 4)
    await queue.add(FAST, 4)
    assert sorted(await _urls(database, _room(FAST, free=5))) == [FAST] * 4 + [SLOW]


async def test_a_fleet_of_silent_receivers_leaves_half_of_the_workers_alone(
    database: Database, queue: _Queue
) -> None:
    for number in range(6):
        await queue.add(f"https://silent-{number}.example/", 2)
    await queue.add(FAST, 9)
    first = await _urls(database, _room(FAST, free=8, workers=8, busy={}))
    assert first == [FAST] * 8
    urls = await _urls(database, _room(FAST, free=8, workers=8, busy={FAST: PER_PROMPT - 1}))
    assert len(urls) == 5
    assert urls.count(FAST) == 1


async def test_nobody_waits_for_what_a_fleet_of_silent_receivers_holds_up(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 1)
    room = _room(FAST, workers=8, busy={"https://silent.example/": 4})
    assert await _urls(database, room) == []
    assert await _next_due_at(database, room=room) is None
    await queue.add(FAST, 1)
    assert await _next_due_at(database, room=room) == NOW - 998 * SECOND


async def test_what_is_due_longest_is_claimed_first_and_returned_oldest_first(
    database: Database, queue: _Queue
) -> None:
    await queue.add(FAST, 5)
    first = await claimed(database, room=_room(FAST, free=2))
    assert [delivery.event.instance_id for delivery in first] == ["ins_000001", "ins_000002"]
    second = await claimed(database, room=_room(FAST, free=2))
    assert [delivery.event.instance_id for delivery in second] == ["ins_000003", "ins_000004"]


async def test_the_share_of_a_receiver_is_what_is_due_longest(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 4)
    first = await claimed(database)
    assert [delivery.event.instance_id for delivery in first] == ["ins_000001", "ins_000002"]
    await tried(database, first[0], 500, now=NOW)
    (again, *_) = await claimed(database, NOW + 3600 * SECOND, lease=OTHER_LEASE)
    assert again.event.instance_id == "ins_000002"


async def test_a_busy_receiver_gets_what_is_left_of_its_share(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 9)
    await queue.add(FAST, 2)
    busy = {SLOW: 1}
    assert await _urls(database, _room(FAST, busy=busy)) == [SLOW, FAST, FAST]


async def test_a_busy_receiver_does_not_take_the_room_of_another(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 9)
    await queue.add(FAST, 9)
    assert sorted(await _urls(database, _room(free=5, busy={SLOW: 1}))) == [FAST] * 2 + [SLOW]


@pytest.mark.parametrize("held", [PER_SLOW, PER_PROMPT])
async def test_a_receiver_whose_share_is_used_up_gets_nothing(
    database: Database, queue: _Queue, held: int
) -> None:
    await queue.add(SLOW, 1)
    assert await _urls(database, _room(busy={SLOW: held})) == []


async def test_what_is_due_later_is_left_alone_until_then(
    database: Database, queue: _Queue
) -> None:
    await queue.add(FAST, 1)
    due_at = NOW - 999 * SECOND
    assert await claimed(database, due_at - SECOND) == []
    assert await _next_due_at(database, due_at - SECOND) == due_at
    assert len(await claimed(database, due_at)) == 1


async def test_what_someone_works_on_is_neither_claimed_nor_waited_for(
    database: Database, queue: _Queue
) -> None:
    await queue.add(FAST, 1)
    await claimed(database)
    assert await claimed(database, NOW + 19 * SECOND, lease=OTHER_LEASE) == []
    assert await _next_due_at(database, NOW + 19 * SECOND) is None


async def test_the_delivery_of_a_worker_that_fell_silent_is_claimed_by_another(
    database: Database, queue: _Queue
) -> None:
    await queue.add(FAST, 1)
    await claimed(database)
    later = NOW + 20 * SECOND
    assert await _next_due_at(database, later) is not None
    assert len(await claimed(database, later, lease=Lease("theirs", later + 20 * SECOND))) == 1


async def test_a_lease_that_is_renewed_is_kept(database: Database, queue: _Queue) -> None:
    await queue.add(FAST, 1)
    until = NOW + 60 * SECOND
    held = {delivery.id: LEASE.token for delivery in await claimed(database)}
    await database.write(lambda c: leases.renew(c, tables.deliveries, held, until))
    assert await claimed(database, NOW + 59 * SECOND, lease=OTHER_LEASE) == []


async def test_receivers_that_are_full_are_not_waited_for(
    database: Database, queue: _Queue
) -> None:
    await queue.add(SLOW, 1)
    await queue.add(FAST, 1)
    assert await _next_due_at(database) == NOW - 999 * SECOND
    assert await _next_due_at(database, room=_room(busy={SLOW: 2})) == NOW - 998 * SECOND
    assert await _next_due_at(database, room=_room(busy={SLOW: 2, FAST: 2})) is None


async def test_a_claimed_delivery_has_all_that_is_needed_to_send_it(
    database: Database, queue: _Queue
) -> None:
    await queue.add(FAST, 1)
    (delivery,) = await claimed(database)
    assert delivery == (await every_delivery(database))[0]
    assert delivery.event.data["instance"]["id"] == "ins_000001"
    assert delivery.event.type.value == "instance.created"


async def test_what_is_done_is_not_claimed_again(database: Database, queue: _Queue) -> None:
    await queue.add(FAST, 1)
    await tried(database, (await claimed(database))[0])
    assert await claimed(database, NOW + 9999 * SECOND) == []
    assert await _next_due_at(database) is None
