"""Writes a store as a service of some age has it: instances that came up, and their events."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from sqlalchemy import func, insert, select

from gpukeeper.domain import ids
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import DesiredState, Instance, Order, Status
from gpukeeper.domain.lifecycle.transitions import change_status
from gpukeeper.domain.machines import Machine
from gpukeeper.store import instances, migrations, tables
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox

# A service that is started on the store needs it: GPUKEEPER_SECRET_KEY.
SECRET_KEY = "A" * 43 + "="
PRODUCTS = {"RTX 4090 24GB": "0.175", "RTX 3090 24GB": "0.105", "H100 SXM 80GB": "1.28"}


def write_history(
    data_dir: Path, count: int, *, events: int = 0, urls: Sequence[str] = ()
) -> list[str]:
    """Store instances that came up during the last day; return the ids of those that run.

    Older events of theirs are added until there are as many as asked for.  Every event is still
    to be delivered to the URLs.
    """
    now = datetime.now(UTC)
    draw = random.Random(7)
    numbers = itertools.count(1)
    outbox = Outbox(tuple(urls), 3, lambda p, at: ids.new_id(p, at, next(numbers).to_bytes(10)))
    seal = EnvsCipher(SECRET_KEY)
    database = Database(sqlite_url(data_dir / "gpukeeper.db"))
    migrations.upgrade(database.engine)
    running: list[str] = []
    with database.engine.begin() as connection:
        for number in range(count):
            at = now - timedelta(hours=24 * draw.random() + 0.5)
            row = _ordered(number, at, draw)
            instances.add(connection, row, seal, outbox)
            for status, seconds in _way(draw):
                at += timedelta(seconds=seconds)
                row = _pass_on(connection, row, status, at, outbox)
            if row.status is Status.RUNNING:
                running.append(row.id)
        _add_events(connection, events)
    database.close()
    return running


def _ordered(number: int, at: datetime, draw: random.Random) -> Instance:
    """Return an order as it is stored."""
    product, _ = list(PRODUCTS.items())[number % len(PRODUCTS)]
    return Instance(
        id=ids.new_id("ins", at, draw.randbytes(10)),
        novita_name=f"machine-{number}-gkbnch{number:08}",
        order=Order(f"machine-{number}", product, "tpl-basic", region="CN-HK-01"),
        status=Status.REQUESTED,
        desired_state=DesiredState.RUNNING,
        created_at=at,
        deadline_at=at + timedelta(minutes=10),
        machine=Machine(price_per_hour=Decimal(PRODUCTS[product])),
    )


def _way(draw: random.Random) -> list[tuple[Status, float]]:
    """Return what an instance goes through; four in five run in the end."""
    up = [
        (Status.CREATING, 1.0),
        (Status.STARTING, draw.uniform(3, 10)),
        (Status.RUNNING, draw.uniform(10, 90)),
    ]
    down = [(Status.STOPPING, draw.uniform(60, 1500)), (Status.STOPPED, draw.uniform(5, 20))]
    return up if draw.random() < 0.8 else up + down


def _pass_on(
    connection: Connection, row: Instance, status: Status, at: datetime, outbox: Outbox
) -> Instance:
    """Store that an instance has entered a status."""

    def fold(found: Instance) -> Instance:
        machine = replace(
            found,
            machine=replace(found.machine, novita_id=f"nv-{found.id}"),
            purchase=replace(found.purchase, accepted_at=at),
            watch=replace(found.watch, observed_at=datetime.now(UTC)),
        )
        return change_status(machine, status, at)

    change: Change = instances.change(connection, row.id, fold, at, outbox)
    return change.after


def _add_events(connection: Connection, wanted: int) -> None:
    """Repeat the events that there are, under ids of their own, until there are enough."""
    missing = wanted - (connection.scalar(select(func.count()).select_from(tables.events)) or 0)
    if missing <= 0:
        return
    columns = [column for column in tables.events.c if column.name != "number"]
    rows = [dict(row) for row in connection.execute(select(*columns)).mappings()]
    repeated = itertools.islice(itertools.cycle(rows), missing)
    connection.execute(
        insert(tables.events),
        [row | {"id": f"evt_again{number:018}"} for number, row in enumerate(repeated)],
    )
