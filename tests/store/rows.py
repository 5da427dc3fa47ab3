"""Rows for the tests of the store: instances and deliveries with as little said as possible."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, RetryPolicy, record_attempt
from gpukeeper.domain.events import Change
from gpukeeper.domain.fairness import Capacity
from gpukeeper.domain.instances import DesiredState, Instance, Order, Status
from gpukeeper.store import deliveries, instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.leases import Lease
from gpukeeper.store.outbox import Outbox
from tests.instances import build, edit

NOW = datetime(2026, 1, 1, 12, 30, 15, 123_456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOOK = "https://hooks.example/all"
OWN = "https://caller.example/own"
SEAL = EnvsCipher("A" * 43 + "=")
LEASE = Lease("mine", NOW + 20 * SECOND)
PLENTY = Capacity(workers=256, free=256, under_way={}, prompt=())
OTHER_LEASE = Lease("theirs", NOW + 20 * SECOND)

Fold = Callable[[Instance], Instance]


def an_outbox(*urls: str, retries: int = 3) -> Outbox:
    """Return an outbox whose ids count up, as they do in all of them together."""
    return Outbox(urls, retries, lambda prefix, at: f"{prefix}_{next(_NUMBERS):09}")


_NUMBERS = itertools.count(1)
SILENT = an_outbox()


def an_instance(number: int = 1, *, order: dict[str, Any] | None = None, **facts: Any) -> Instance:
    """Return an instance that was just ordered; ``order`` and ``facts`` change its fields."""
    plain = Order(name=f"trainer-{number}", product_name="RTX 4090 24GB", template_id="tpl")
    row = build(
        id=f"ins_{number:06}",
        novita_name=f"trainer-{number}-gkte5t{number:08}",
        order=replace(plain, **(order or {})),
        status=Status.REQUESTED,
        desired_state=DesiredState.RUNNING,
        created_at=NOW,
        deadline_at=NOW + 600 * SECOND,
        due_at=NOW,
    )
    return edit(row, **facts)


async def stored(database: Database, *rows: Instance, outbox: Outbox = SILENT) -> None:
    """Store instances."""

    def add(connection: Connection) -> None:
        for row in rows:
            instances.add(connection, row, SEAL, outbox)

    await database.write(add)


async def changed(
    database: Database,
    instance_id: str,
    fold: Fold,
    *,
    outbox: Outbox = SILENT,
    now: datetime = NOW,
    lease_token: str | None = None,
) -> Change:
    """Fold something into a stored instance."""
    return await database.write(
        lambda c: instances.change(c, instance_id, fold, now, outbox, lease_token=lease_token)
    )


async def all_changed(
    database: Database,
    folds: Mapping[str, Fold],
    *,
    outbox: Outbox = SILENT,
    lease_token: str | None = None,
) -> list[Change]:
    """Fold something into stored instances, together."""
    return await database.write(
        lambda c: instances.change_all(c, folds, NOW, outbox, lease_token=lease_token)
    )


async def became(database: Database, instance_id: str, *statuses: Status, outbox: Outbox) -> None:
    """Take a stored instance through these statuses, a second apart."""
    for step, status in enumerate(statuses):
        await changed(
            database, instance_id, _become(status), outbox=outbox, now=NOW + step * SECOND
        )


async def found(database: Database, instance_id: str) -> Instance:
    """Return a stored instance."""
    row = await database.read(lambda c: instances.find(c, instance_id))
    assert row is not None
    return row


async def claimed(
    database: Database,
    now: datetime = NOW,
    *,
    lease: Lease = LEASE,
    room: Capacity = PLENTY,
) -> list[Delivery]:
    """Claim deliveries."""
    return await database.write(lambda c: deliveries.claim(c, now, lease, room=room))


async def tried(
    database: Database,
    delivery: Delivery,
    answer: int | None = 204,
    *,
    now: datetime = NOW,
    lease_token: str = LEASE.token,
) -> Delivery:
    """Store an attempt at a claimed delivery that got this answer; return what it decided."""
    after = record_attempt(
        delivery,
        is_delivered=answer is not None and 200 <= answer < 300,
        is_gone=answer == 410,
        retry_after=None,
        now=now,
        policy=RetryPolicy(),
        random=0.5,
    )
    attempt = DeliveryAttempt(
        number=after.attempts,
        at=now,
        duration=timedelta(microseconds=1_234_567),
        response_status=answer,
        error=None if answer else "no answer",
        answer="…",
    )
    await database.write(lambda c: deliveries.finish(c, after, attempt, lease_token))
    return after


async def every_delivery(database: Database) -> list[Delivery]:
    """Return all deliveries, oldest first."""
    newest_first, _ = await database.read(
        lambda c: deliveries.list_page(c, status=None, instance_id=None, before=None, limit=1000)
    )
    return newest_first[::-1]


def _become(status: Status) -> Fold:
    return lambda row: replace(row, status=status)
