"""The way to this version's schema, from nothing and from anywhere on it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text

from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.store import facts, migrations
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.tables import metadata


def _tables(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def _upgrade_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _indexes(connection: Connection) -> dict[str, str]:
    """Return every index as the database was told of it, with its condition."""
    statements = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
        "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "AND tablename <> 'alembic_version'",
    }
    rows = connection.exec_driver_sql(statements[connection.dialect.name])
    return {name: sql for name, sql in rows}


def test_an_empty_database_gets_every_table_and_says_its_revision(
    empty_database: Database,
) -> None:
    with empty_database.engine.connect() as connection:
        assert migrations.current(connection) is None
    assert migrations.upgrade(empty_database.engine) == migrations.newest()
    assert _tables(empty_database) == {*metadata.tables, "alembic_version"}
    with empty_database.engine.connect() as connection:
        assert migrations.current(connection) == migrations.newest()


def test_a_database_that_is_up_to_date_is_left_as_it_is(database: Database) -> None:
    with database.engine.begin() as connection:
        facts.ensure_mark(connection, "kept")
    assert migrations.upgrade(database.engine) == migrations.newest()
    with database.engine.connect() as connection:
        assert facts.ensure_mark(connection, "other") == "kept"


def test_the_revisions_lead_to_the_tables_that_the_program_knows(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_revisions_make_the_same_indexes_with_the_same_conditions(
    empty_database: Database, database: Database
) -> None:
    metadata.create_all(empty_database.engine)
    with empty_database.engine.connect() as told, database.engine.connect() as migrated:
        assert _indexes(migrated) == _indexes(told)


@pytest.fixture
def databases(empty_url: str) -> Iterator[list[Database]]:
    """Give the databases of several processes that were started on one new store."""
    opened = [Database(empty_url) for _ in range(4)]
    yield opened
    for database in opened:
        database.close()


def test_of_several_that_start_together_one_migrates_and_the_others_find_it_done(
    databases: list[Database],
) -> None:
    barrier = threading.Barrier(len(databases))
    revisions: list[str] = []

    def start(database: Database) -> None:
        barrier.wait(10)
        revisions.append(migrations.upgrade(database.engine))

    threads = [threading.Thread(target=start, args=[database]) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert revisions == [migrations.newest()] * len(databases)


def test_a_migration_that_breaks_off_leaves_nothing_behind(empty_database: Database) -> None:
    def break_off(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        if "CREATE TABLE orphans" in statement:
            raise ConnectionAbortedError

    event.listen(empty_database.engine, "before_cursor_execute", break_off)
    with pytest.raises(ConnectionAbortedError):
        migrations.upgrade(empty_database.engine)
    assert _tables(empty_database) == set()
    event.remove(empty_database.engine, "before_cursor_execute", break_off)
    assert migrations.upgrade(empty_database.engine) == migrations.newest()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InvalidConfiguration, match="revision 9999 of a newer gpukeeper"):
        migrations.upgrade(database.engine)
    with database.engine.connect() as connection:
        assert migrations.current(connection) == "9999"


def test_deliveries_of_an_older_version_learn_their_receiver(empty_database: Database) -> None:
    with empty_database.engine.begin() as connection:
        _upgrade_to(connection, "0001")
        connection.execute(
            text(
                "INSERT INTO deliveries (id, event_number, url, is_trusted, lane, status,"
                " attempts, allowed_attempts, created_at)"
                " VALUES (:id, 1, :url, true, 'lane', 'delivered', 1, 4, 0)"
            ),
            [{"id": f"dlv_{n}", "url": f"https://h{n}.example/?{n}"} for n in range(1500)],
        )
    migrations.upgrade(empty_database.engine)
    with empty_database.engine.connect() as connection:
        rows = connection.execute(text("SELECT url, receiver FROM deliveries")).all()
    assert len(rows) == 1500
    assert all(row.receiver == row.url.split("/")[2] + ":443" for row in rows)


_OLD_ROW = text(
    "INSERT INTO instances (id, name, novita_name, novita_id, status, micro_usd_per_hour, gone_at,"
    " body) VALUES (:id, 'n', :id, :id, :status, 175000, :gone_at, :body)"
)


def test_instances_of_an_older_version_learn_what_they_cost_now(empty_database: Database) -> None:
    def old(
        name: str, status: str, phase: str, disk_gb: int, gone_at: int | None = None
    ) -> dict[str, Any]:
        body = {"phase": phase, "order": {"rootfs_size_gb": disk_gb}}
        return {"id": name, "status": status, "gone_at": gone_at, "body": json.dumps(body)}

    rows = [
        old("runs", "running", "up", 60),
        old("big", "running", "up", 500),
        old("stopped", "stopped", "down", 500),
        old("exited", "failed", "down", 60),
        old("gone", "deleted", "up", 500, gone_at=1),
    ]
    with empty_database.engine.begin() as connection:
        _upgrade_to(connection, "0003")
        connection.execute(_OLD_ROW, rows)
    migrations.upgrade(empty_database.engine)
    with empty_database.engine.connect() as connection:
        found = connection.execute(text("SELECT id, micro_usd_now FROM instances")).all()
    assert {row.id: row.micro_usd_now for row in found} == {
        "runs": 175_000,
        "big": 175_000 + 91_667,
        "stopped": 91_667,
        "exited": 0,
        "gone": 0,
    }
