"""What `gpukeeper check` finds, and that it leaves everything as it was."""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from gpukeeper.config import Settings
from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.process import CheckResult, check, migrate, serve
from gpukeeper.runtime import build
from gpukeeper.store import migrations
from gpukeeper.store.db.database import Database, sqlite_url
from tests.postgres import Databases
from tests.runtime.conftest import Configure

NEWEST = migrations.newest()


def database_of(settings: Settings) -> CheckResult:
    """Check, and return what was found of the database; Novita cannot be reached."""
    configuration, database, novita = check(settings)
    assert configuration.is_ok
    assert not novita.is_ok
    return database


def set_revision(url: str, revision: str) -> None:
    """Have a database say that it is at another revision."""
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    database.close()


def test_where_nothing_is_yet_nothing_is_created(configure: Configure, tmp_path: Path) -> None:
    found = database_of(configure())
    assert found.is_ok
    assert "will be set up at the start" in found.message
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_this_version_is_said_to_be_one(configure: Configure) -> None:
    settings = configure()
    migrate(settings)
    found = database_of(settings)
    assert found == CheckResult(
        "database", is_ok=True, message=f"{settings.database_path} is at revision {NEWEST}"
    )


def test_an_older_database_is_said_to_be_migrated_at_the_start_and_is_not_now(
    configure: Configure, tmp_path: Path
) -> None:
    settings = configure(GPUKEEPER_DATA_DIR=str(tmp_path / "50% #1?"))
    migrate(settings)
    set_revision(sqlite_url(settings.database_path), "0001")
    before = settings.database_path.read_bytes()
    found = database_of(settings)
    assert found.is_ok
    assert f"is at revision 0001 and will be migrated to {NEWEST} at the start" in found.message
    assert settings.database_path.read_bytes() == before


@pytest.mark.parametrize("is_other_file", [True, False])
def test_a_database_that_cannot_be_used_is_told_in_one_line(
    configure: Configure, is_other_file: bool
) -> None:
    settings = configure()
    migrate(settings)
    if is_other_file:
        settings.database_path.write_text("no database at all")
    else:
        set_revision(sqlite_url(settings.database_path), "9999")
    found = database_of(settings)
    assert not found.is_ok
    said = "file is not a database" if is_other_file else "is too old for it"
    assert said in found.message


def test_a_new_postgres_is_left_to_the_service_that_starts_on_it_first(
    configure: Configure, postgres: Databases, tmp_path: Path
) -> None:
    with postgres.new() as url:
        laptop = configure(GPUKEEPER_DATABASE_URL=url, GPUKEEPER_DATA_DIR=str(tmp_path / "laptop"))
        assert database_of(laptop).is_ok
        engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
        assert inspect(engine).get_table_names() == []
        engine.dispose()
        build(configure(GPUKEEPER_DATABASE_URL=url)).database.close()
        assert f"is at revision {NEWEST}" in database_of(laptop).message


def test_a_postgres_that_is_away_is_told_in_one_line_and_not_waited_for(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://postgres:hunter2-password@127.0.0.1:9/postgres"
    found = database_of(configure(GPUKEEPER_DATABASE_URL=url))
    assert not found.is_ok
    assert "refused" in found.message
    assert "\n" not in found.message
    assert "hunter2" not in found.message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_server_where_no_table_may_be_made_is_told_by_check_and_refused_by_all(
    configure: Configure, postgres: Databases, is_read_only: bool
) -> None:
    with postgres.new() as url:
        database = Database(url)
        with database.engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            name = postgres.name(url)
            connection.execute(text(f"CREATE ROLE plain_{name} LOGIN"))
            connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
            if is_read_only:
                alter = f"ALTER ROLE plain_{name} SET default_transaction_read_only = on"
                connection.execute(text(alter))
        database.close()
        said = "read-only" if is_read_only else "permission denied"
        settings = configure(GPUKEEPER_DATABASE_URL=url.replace("postgres@", f"plain_{name}@", 1))
        found = database_of(settings)
        assert not found.is_ok
        assert said in found.message
        assert inspect(database.engine).get_table_names() == []
        if not is_read_only:
            for begin in (migrate, build):
                with pytest.raises(InvalidConfiguration, match=said):
                    begin(settings)
        with database.engine.connect() as connection:
            connection.execute(text(f"DROP ROLE plain_{name}"))
            connection.commit()
        database.engine.dispose()


def damage(settings: Settings) -> None:
    """Overwrite the second half of a store."""
    content = settings.database_path.read_bytes()
    half = len(content) // 2 // 4096 * 4096
    settings.database_path.write_bytes(content[:half] + b"\xff" * (len(content) - half))


@pytest.mark.parametrize(
    "spoil", [damage, lambda it: it.database_path.write_text("no database" * 99)]
)
def test_a_damaged_store_is_told_by_check_and_refused_by_all(
    configure: Configure, spoil: Callable[[Settings], object]
) -> None:
    settings = configure()
    migrate(settings)
    spoil(settings)
    found = database_of(settings)
    assert not found.is_ok
    assert "restore a backup" in found.message
    for begin in (migrate, build):
        with pytest.raises(InvalidConfiguration, match="restore a backup") as refusal:
            begin(settings)
        (fault,) = refusal.value.faults
        assert str(settings.database_path) in fault.message


@pytest.mark.parametrize("has_facts", [True, False])
def test_a_newer_store_is_told_by_check_and_refused_by_all(
    configure: Configure, has_facts: bool
) -> None:
    settings = configure()
    migrate(settings)
    set_revision(sqlite_url(settings.database_path), "9999")
    if not has_facts:
        database = Database(sqlite_url(settings.database_path))
        with database.engine.begin() as connection:
            connection.execute(text("DROP TABLE facts"))
        database.close()
    assert "is too old for it" in database_of(settings).message
    for begin in (migrate, build):
        with pytest.raises(InvalidConfiguration, match="is too old for it"):
            begin(settings)


def test_a_file_of_another_program_is_told_and_left_as_it_is(configure: Configure) -> None:
    settings = configure()
    settings.database_path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(settings.database_path)) as other:
        other.execute("CREATE TABLE instances (whatever TEXT)")
    for begin in (migrate, build):
        with pytest.raises(InvalidConfiguration, match="already exists"):
            begin(settings)
    with closing(sqlite3.connect(settings.database_path)) as other:
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("instances",)]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named_with_its_path(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    settings = configure()
    migrate(settings)

    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    for begin in (check, serve):
        with pytest.raises(InvalidConfiguration, match="cannot be locked") as refusal:
            begin(settings)
        (fault,) = refusal.value.faults
        assert fault.field == "GPUKEEPER_DATA_DIR"
        assert str(settings.data_dir) in fault.message
        assert os.strerror(code) in fault.message
