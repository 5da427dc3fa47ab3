"""Several processes on one PostgreSQL: nobody gets what another has, and nothing is missed."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.errors import LeaseLost, StoreUnavailable
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.store import events, facts, instances, leases, tables
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.facts import Singleton
from gpukeeper.store.leases import Lease
from tests.instances import edit
from tests.store.rows import (
    HOOK,
    NOW,
    SECOND,
    an_instance,
    an_outbox,
    became,
    changed,
    claimed,
    every_delivery,
    found,
    stored,
    tried,
)


@pytest.fixture
def replicas(postgres_url: str) -> Iterator[list[Database]]:
    """Give the databases of three processes."""
    with ExitStack() as stack:
        opened = [Database(postgres_url) for _ in range(3)]
        for database in opened:
            stack.callback(database.close)
        yield opened


async def test_each_due_row_is_claimed_by_one_of_many(replicas: list[Database]) -> None:
    await stored(replicas[0], *(an_instance(number) for number in range(40)))

    async def claim(number: int) -> list[str]:
        lease = Lease(f"token-{number}", NOW + 20 * SECOND)
        rows = await replicas[number % 3].write(lambda c: instances.claim(c, NOW, 5, lease))
        return [row.id for row in rows]

    got = await asyncio.gather(*(claim(number) for number in range(12)))
    ids = [row_id for some in got for row_id in some]
    assert len(ids) == len(set(ids))
    while more := await claim(len(ids) + 100):
        ids += more
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 40


async def test_each_due_delivery_is_claimed_by_one_of_many(replicas: list[Database]) -> None:
    outbox = an_outbox(HOOK)
    await stored(replicas[0], *(an_instance(number) for number in range(6)))
    for number in range(6):
        await became(replicas[0], f"ins_{number:06}", Status.CREATING, outbox=outbox)
    got = await asyncio.gather(
        *(
            claimed(replicas[number % 3], lease=Lease(f"token-{number}", NOW + 20 * SECOND))
            for number in range(9)
        )
    )
    ids = [delivery.id for some in got for delivery in some]
    assert len(ids) == len(set(ids))
    while more := await claimed(replicas[0], lease=Lease("last", NOW + 20 * SECOND)):
        ids += [delivery.id for delivery in more]
    assert len(ids) == len(set(ids)) == 6


class _Held:
    """A unit that has done its work and is not committed yet, until it is let go."""

    def __init__(self) -> None:
        self._did = threading.Event()
        self._may_end = threading.Event()

    def hold(self, _connection: Connection) -> None:
        self._did.set()
        assert self._may_end.wait(10)

    async def until_held(self) -> None:
        assert await asyncio.to_thread(self._did.wait, 10)

    def let_go(self) -> None:
        self._may_end.set()


async def test_events_are_seen_in_the_order_of_their_numbers(replicas: list[Database]) -> None:
    outbox, held = an_outbox(), _Held()
    await stored(replicas[0], an_instance(1), an_instance(2))

    def change_and_wait(connection: Connection) -> None:
        instances.change(connection, "ins_000001", _creating, NOW, outbox)
        held.hold(connection)

    first = asyncio.create_task(replicas[0].write(change_and_wait))
    await held.until_held()
    second = asyncio.create_task(changed(replicas[1], "ins_000002", _creating, outbox=outbox))
    # The second has its number, or waits for it; whichever it is, nobody may see it before the
    # first, whose number is lower.
    assert len(await replicas[2].read(lambda c: events.list_of_instance(c, "ins_000002"))) == 1
    held.let_go()
    await asyncio.gather(first, second)
    _, one = await replicas[2].read(lambda c: events.list_of_instance(c, "ins_000001"))
    _, two = await replicas[2].read(lambda c: events.list_of_instance(c, "ins_000002"))
    assert one.number is not None
    assert two.number is not None
    assert one.number < two.number


async def test_a_reader_that_goes_by_number_misses_no_event(replicas: list[Database]) -> None:
    rows = [an_instance(number) for number in range(60)]
    outbox = an_outbox()
    await stored(replicas[0], *rows)
    seen: list[int] = []
    is_done = False

    def read(connection: Connection) -> list[int]:
        number = tables.events.c.number
        last = seen[-1] if seen else 0
        newer = tables.events.select().where(number > last).order_by(number)
        return [row.number for row in connection.execute(newer)]

    async def follow() -> None:
        while not is_done:
            seen.extend(await replicas[2].read(read))
        seen.extend(await replicas[2].read(read))

    following = asyncio.create_task(follow())
    await asyncio.gather(
        *(
            changed(replicas[index % 2], row.id, _creating, outbox=outbox)
            for index, row in enumerate(rows)
        )
    )
    is_done = True
    await following
    assert len(seen) == len(set(seen)) == 2 * len(rows)


async def test_a_delivery_that_comes_while_the_one_before_it_ends_is_let_go(
    replicas: list[Database],
) -> None:
    outbox = an_outbox(HOOK)
    await stored(replicas[0], an_instance(1))
    for _ in range(10):
        await changed(replicas[0], "ins_000001", _creating, outbox=outbox)
        (delivery,) = await claimed(replicas[0], NOW + 99 * SECOND)
        await asyncio.gather(
            tried(replicas[0], delivery, 204, now=NOW + 99 * SECOND),
            changed(replicas[1], "ins_000001", _running, outbox=outbox),
        )
        (following,) = await claimed(replicas[2], NOW + 99 * SECOND)
        await tried(replicas[2], following, 204, now=NOW + 99 * SECOND)


async def test_receivers_that_say_gone_at_once_end_everything_and_nothing_hangs(
    replicas: list[Database],
) -> None:
    outbox = an_outbox(HOOK)
    await stored(replicas[0], *(an_instance(number) for number in range(8)))
    for number in range(8):
        await became(
            replicas[0], f"ins_{number:06}", Status.CREATING, Status.RUNNING, outbox=outbox
        )
    due = await claimed(replicas[0], NOW + 99 * SECOND)
    outcomes = await asyncio.gather(
        *(tried(replicas[index % 3], delivery, 410) for index, delivery in enumerate(due)),
        return_exceptions=True,
    )
    assert all(
        isinstance(outcome, LeaseLost) for outcome in outcomes if isinstance(outcome, Exception)
    )
    statuses = {delivery.status for delivery in await every_delivery(replicas[0])}
    assert statuses == {DeliveryStatus.ENDED}


async def test_transactions_over_the_same_rows_do_not_stop_each_other(
    replicas: list[Database],
) -> None:
    ids = [f"ins_{number:06}" for number in range(20)]
    outbox = an_outbox(HOOK)
    await stored(replicas[0], *(an_instance(number) for number in range(20)))
    held = dict.fromkeys(ids, "token")

    def change_all(connection: Connection, order: list[str]) -> None:
        folds = dict.fromkeys(order, _failed_once_more)
        instances.change_all(connection, folds, NOW, outbox)

    def renew(connection: Connection) -> None:
        leases.renew(connection, tables.instances, held, NOW)

    await asyncio.gather(
        *(replicas[0].write(lambda c: change_all(c, ids)) for _ in range(5)),
        *(replicas[1].write(lambda c: change_all(c, ids[::-1])) for _ in range(5)),
        *(replicas[2].write(renew) for _ in range(5)),
    )
    assert {(await found(replicas[0], row_id)).watch.failures for row_id in ids} == {10}


async def test_one_process_looks_at_a_time(replicas: list[Database]) -> None:
    async def begin(number: int, at: int = 0) -> bool:
        now = NOW + at * SECOND
        lease = Lease(f"token-{number}", now + 20 * SECOND)
        return (
            await replicas[number % 3].write(lambda c: facts.take(c, Singleton.LOOK, now, lease))
            is None
        )

    assert sum(await asyncio.gather(*(begin(number) for number in range(9)))) == 1
    assert not await begin(10, at=19)
    assert await begin(11, at=20)
    with pytest.raises(LeaseLost):
        await replicas[0].write(lambda c: facts.check(c, Singleton.LOOK, "token-0"))
    await replicas[0].write(lambda c: facts.check(c, Singleton.LOOK, "token-11"))
    await replicas[0].write(lambda c: facts.release(c, Singleton.LOOK))
    assert await begin(12, at=20)


async def test_a_connection_that_was_lost_costs_one_error_at_most(
    replicas: list[Database],
) -> None:
    def kill(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    await stored(replicas[0], an_instance(1))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await replicas[0].write(kill)
    assert await replicas[0].read(instances.count_by_status) == {Status.REQUESTED: 1}
    await stored(replicas[0], an_instance(2))
    assert await replicas[0].trouble(lambda c: facts.touch(c, NOW)) is None


async def test_text_with_a_nul_is_stored_without_it_and_finds_nothing(
    postgres_database: Database,
) -> None:
    await stored(postgres_database, an_instance(1))
    assert await postgres_database.read(lambda c: instances.find(c, "ins_\0")) is None


def _creating(row: Instance) -> Instance:
    return replace(row, status=Status.CREATING)


def _running(row: Instance) -> Instance:
    return replace(row, status=Status.RUNNING)


def _failed_once_more(row: Instance) -> Instance:
    return edit(row, failures=row.watch.failures + 1)
