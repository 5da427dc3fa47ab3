"""Schemas of newer programs: this one works on those that say so, and refuses the others."""

from itertools import pairwise
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from gpukeeper import __version__
from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.domain.instances import Status
from gpukeeper.store import deliveries, facts, migrations
from gpukeeper.store.db.database import Database
from gpukeeper.store.facts import Schema
from tests.store.newer.programs import additive, breaking
from tests.store.rows import (
    HOOK,
    LEASE,
    NOW,
    PLENTY,
    an_instance,
    an_outbox,
    became,
    claimed,
    stored,
)


def _complaint(database: Database, revision: str | None = None) -> str | None:
    with database.engine.begin() as connection:
        if revision is not None:
            connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        return migrations.complaint(connection)


def test_every_revision_names_an_oldest_program_that_knows_no_more_than_it() -> None:
    oldest = migrations.ours().oldest_programs
    order = list(oldest)
    named = [order.index(program) for program in oldest.values()]
    assert all(program <= place for place, program in enumerate(named))
    assert all(before <= after for before, after in pairwise(named)), "a program came back"


def test_a_program_knows_the_revisions_that_alembic_runs_in_that_order() -> None:
    directory = ScriptDirectory(
        str(Path(migrations.__file__).parent),
        version_locations=[str(folder) for folder in breaking().folders],
    )
    scripts = list(directory.walk_revisions())[::-1]
    oldest = [(script.revision, script.module.oldest_program) for script in scripts]
    assert list(breaking().oldest_programs.items()) == oldest


def test_a_schema_says_who_works_on_it_and_which_version_made_it(database: Database) -> None:
    revision = migrations.newest()
    oldest = migrations.ours().oldest_programs[revision]
    with database.engine.connect() as connection:
        assert facts.find_schema(connection) == Schema(revision, oldest, __version__)


def test_a_later_version_with_the_same_schema_leaves_the_name_of_its_maker(
    database: Database,
) -> None:
    later = migrations.program_of("8.0.0", *migrations.ours().folders)
    migrations.upgrade(database.engine, later)
    with database.engine.connect() as connection:
        told = facts.find_schema(connection)
    assert told is not None
    assert told.version == __version__


def test_a_schema_of_a_version_that_said_nothing_is_described_at_the_next_start(
    database: Database,
) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM facts WHERE key = 'schema'"))
    migrations.upgrade(database.engine)
    with database.engine.connect() as connection:
        assert facts.find_schema(connection) == migrations.ours().schema


async def test_a_program_starts_and_works_on_a_newer_schema_that_only_adds(
    database: Database,
) -> None:
    assert migrations.upgrade(database.engine, additive()) == "9001"
    assert migrations.upgrade(database.engine) == "9001"
    assert _complaint(database) is None
    with database.engine.connect() as connection:
        assert facts.find_schema(connection) == additive().schema
        assert inspect(connection).has_table("notes")
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    assert len(await claimed(database)) == 1


def test_a_program_refuses_a_newer_schema_that_is_not_for_it_and_says_what_to_do(
    database: Database,
) -> None:
    migrations.upgrade(database.engine, breaking())
    with pytest.raises(InvalidConfiguration) as refusal:
        migrations.upgrade(database.engine)
    (fault,) = refusal.value.faults
    assert fault.field == "GPUKEEPER_DATABASE_URL"
    assert fault.message == (
        f"the database is at revision 9002 of a newer gpukeeper 9.2.0, and gpukeeper {__version__}"
        " is too old for it: install the newer version here, too, or restore the backup from"
        " before the upgrade"
    )
    assert _complaint(database) == fault.message
    assert migrations.upgrade(database.engine, breaking()) == "9002"
    assert migrations.upgrade(database.engine, additive()) == "9002"


def test_what_was_said_of_another_schema_is_not_believed(database: Database) -> None:
    migrations.upgrade(database.engine, additive())
    assert _complaint(database, "9002") is not None
    assert "revision 9002 of a newer gpukeeper, and" in str(_complaint(database))


def test_a_schema_that_is_too_old_or_missing_wants_to_be_migrated(
    database: Database, empty_database: Database
) -> None:
    newest = migrations.newest()
    remedy = f"needs {newest}: run 'gpukeeper migrate'"
    assert _complaint(database, "0001") == f"the database is at revision 0001, and {remedy}"
    assert _complaint(empty_database) == f"the database is empty, and {remedy}"


async def test_a_delivery_of_the_first_program_is_delivered_by_this_one(
    database: Database,
) -> None:
    await stored(database, an_instance(1))
    await became(database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    # The first program does not know the column, so its rows have the default.
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET receiver = ''"))
    found = await database.write(lambda c: deliveries.claim(c, NOW, LEASE, room=PLENTY))
    assert len(found) == 1
