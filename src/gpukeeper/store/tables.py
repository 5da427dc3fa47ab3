"""The tables: a column for whatever SQL asks about, JSON for the rest.

Times are integers, microseconds since 1970 UTC, so that both databases compare them alike.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    literal_column,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Turn a datetime into microseconds."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Turn microseconds into a datetime."""
        return None if value is None else _EPOCH + value * _MICROSECOND


def _only_where(condition: str) -> dict[str, Any]:
    """Return what makes an index partial, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


# SQLite counts rows by itself only for a plain INTEGER key.
_Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

instances = Table(
    "instances",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("novita_name", String(80), nullable=False, unique=True),
    Column("novita_id", String(255), unique=True),
    Column("status", String(20), nullable=False),
    Column("seen_fingerprint", String(32)),
    Column("micro_usd_per_hour", BigInteger),
    Column("micro_usd_now", BigInteger, nullable=False, server_default="0"),
    Column("spot_notice", String(20)),
    Column("gone_at", UtcTime),
    Column("due_at", UtcTime),
    Column("lease_token", String(40)),
    Column("lease_until", UtcTime),
    Column("body", Text, nullable=False),
    Column("sealed_envs", Text),
    Index("ix_instances_status", "status"),
    Index("ix_instances_due_at", "due_at", "status", **_only_where("due_at IS NOT NULL")),
    Index(
        "ix_instances_status_due_at",
        "status",
        "due_at",
        **_only_where("due_at IS NOT NULL"),
    ),
    Index(
        "ix_instances_watched",
        "gone_at",
        **_only_where("novita_id IS NOT NULL AND gone_at IS NULL"),
    ),
    # Holds the number itself, so that the sum needs no row.
    Index("ix_instances_micro_usd_now", "micro_usd_now", **_only_where("micro_usd_now > 0")),
    Index("ix_instances_spot_notice", "status", **_only_where("spot_notice IS NOT NULL")),
    Index("ix_instances_lease_token", "lease_token", **_only_where("lease_token IS NOT NULL")),
    sqlite_autoincrement=True,
)

# Written out, not bound: SQLite uses a partial index only when it can see its condition.
COSTS_NOW = instances.c.micro_usd_now > literal_column("0")

events = Table(
    "events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("type", String(40), nullable=False),
    Column("instance_id", String(40), index=True),
    Column("at", UtcTime, nullable=False),
    Column("data", Text, nullable=False),
    Column("traceparent", String(64)),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("event_number", BigInteger, nullable=False, index=True),
    Column("instance_id", String(40), index=True),
    Column("url", Text, nullable=False),
    Column("receiver", Text, nullable=False, server_default=""),
    Column("is_trusted", Boolean, nullable=False),
    Column("lane", String(64), nullable=False),
    Column("status", String(20), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("allowed_attempts", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("due_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("lease_token", String(40)),
    Column("lease_until", UtcTime),
    Index("ix_deliveries_lane", "lane", "number", **_only_where("status = 'pending'")),
    Index("ix_deliveries_url", "url", **_only_where("status = 'pending'")),
    Index(
        "ix_deliveries_receiver",
        "receiver",
        "due_at",
        **_only_where("status = 'pending' AND due_at IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_exhausted",
        "finished_at",
        "receiver",
        **_only_where("status = 'exhausted'"),
    ),
    Index("ix_deliveries_lease_token", "lease_token", **_only_where("lease_token IS NOT NULL")),
    sqlite_autoincrement=True,
)

# Written out, not bound: SQLite uses a partial index only when it can see its condition.
IS_PENDING = deliveries.c.status == literal_column("'pending'")

IS_EXHAUSTED = deliveries.c.status == literal_column("'exhausted'")

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("response_status", Integer),
    Column("error", Text),
    Column("answer", Text, nullable=False),
)

ended_urls = Table(
    "ended_urls",
    metadata,
    Column("url", Text, primary_key=True),
    Column("at", UtcTime, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("instance_id", String(40), nullable=False),
    Column("at", UtcTime, nullable=False),
)

orphans = Table(
    "orphans",
    metadata,
    Column("novita_id", String(255), primary_key=True),
    Column("first_seen_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
    Column("body", Text, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("key", String(40), primary_key=True),
    Column("body", Text, nullable=False),
)
