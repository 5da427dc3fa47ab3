"""Writes a store that watches a fleet, as it is when every machine has been seen once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import insert, text

from bench.history import SECRET_KEY
from bench.novita import DEPLOYMENT, FIRST_WORD, machine, machine_id, machine_name
from gpukeeper.domain import ids
from gpukeeper.domain.instances import DesiredState, Instance, Order, Purchase, Status
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Machine
from gpukeeper.novita import mapping, models
from gpukeeper.store import facts, instance_record, migrations, tables
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher

# What every process on the store has to be started with.
SETTINGS = {"GPUKEEPER_SECRET_KEY": SECRET_KEY}
# The machines go on starting for as long as they are measured.
STARTUP_TIMEOUT = timedelta(days=1)
# The tables whose rows are counted when they are written.
COUNTED = ("instances", "events", "deliveries", "delivery_attempts", "facts")
_ROWS_AT_ONCE = 1000


def write_fleet(database: Database, count: int) -> None:
    """Store so many instances that are starting."""
    migrations.upgrade(database.engine)
    now = datetime.now(UTC)
    with database.engine.begin() as connection:
        facts.ensure_mark(connection, DEPLOYMENT)
        rows = _rows(count, now)
        while batch := [row for _, row in zip(range(_ROWS_AT_ONCE), rows, strict=False)]:
            connection.execute(insert(tables.instances), batch)
    if database.is_shared:
        with database.engine.begin() as connection:
            connection.execute(text("ANALYZE"))


def count_writes(connection: Connection) -> None:
    """Have SQLite count the rows that are written from now on, by table."""
    connection.execute(text("CREATE TABLE written (name TEXT PRIMARY KEY, times INTEGER)"))
    for table in COUNTED:
        connection.execute(text("INSERT INTO written VALUES (:name, 0)"), {"name": table})
        for verb in ("INSERT", "UPDATE", "DELETE"):
            name, count = f"{verb}_{table}", f"times = times + 1 WHERE name = '{table}'"
            body = f"BEGIN UPDATE written SET {count}; END"  # noqa: S608
            connection.execute(text(f"CREATE TRIGGER {name} AFTER {verb} ON {table} {body}"))


def writes(connection: Connection) -> dict[str, int]:
    """Return how many rows of each table were written so far; on PostgreSQL of events alone.

    Its statistics lag behind by up to ten seconds, and triggers would be most of the work.
    """
    if connection.dialect.name == "sqlite":
        counted = connection.execute(text("SELECT name, times FROM written"))
        return {name: times for name, times in counted}
    return {"events": connection.execute(text("SELECT count(*) FROM events")).scalar_one()}


def _rows(count: int, now: datetime) -> Iterator[dict[str, object]]:
    limits, seal = Limits(), EnvsCipher(SECRET_KEY)
    for number in range(count):
        row = _instance(number, now, limits)
        yield {
            "id": row.id,
            "name": row.order.name,
            "novita_name": row.novita_name,
            "novita_id": row.machine.novita_id,
            "status": row.status.value,
            "seen_fingerprint": row.watch.seen_fingerprint,
            "micro_usd_per_hour": 175_000,
            "gone_at": None,
            "due_at": row.due_at,
            "body": instance_record.dump(row),
            "sealed_envs": seal.close({}, row=row.id),
        }


def _instance(number: int, now: datetime, limits: Limits) -> Instance:
    """Return an instance that was bought a while ago and seen since."""
    bought_at = now - timedelta(minutes=5)
    bought = Instance(
        id=ids.new_id("ins", bought_at, number.to_bytes(10)),
        novita_name=machine_name(number),
        order=Order(
            f"machine-{number}",
            "RTX 4090 24GB",
            "tpl-basic",
            region="CN-HK-01",
            startup_timeout=STARTUP_TIMEOUT,
        ),
        status=Status.CREATING,
        desired_state=DesiredState.RUNNING,
        created_at=bought_at,
        deadline_at=bought_at + STARTUP_TIMEOUT,
        machine=Machine(
            novita_id=machine_id(number),
            product_id="4090.16c62g",
            product_name="RTX 4090 24GB",
            cluster_id="cn-hongkong-1",
            region="CN-HK-01",
            image_url="docker.io/acme/worker:1.4",
            price_per_hour=Decimal("0.175"),
        ),
        purchase=Purchase(accepted_at=bought_at),
        started_at=bought_at,
    )
    listed = models.Machine.model_validate(json.loads(json.dumps(machine(number, FIRST_WORD))))
    seen = observe(bought, mapping.observation(listed, now), now, limits)
    return schedule(seen, now, limits)
