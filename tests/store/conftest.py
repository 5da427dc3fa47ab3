"""The databases that every test of the store runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.database import Database, sqlite_url


@pytest.fixture(params=["sqlite"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Give a database without any table, on each kind of server that the store knows."""
    urls = {"sqlite": sqlite_url(tmp_path / "test.db")}
    database = Database(urls[request.param])
    yield database
    database.close()


@pytest.fixture
def database(empty_database: Database) -> Database:
    """Give a database with this version's schema."""
    migrations.upgrade(empty_database.engine)
    return empty_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a SQLite file may be, for what only SQLite has."""
    return tmp_path / "file.db"
