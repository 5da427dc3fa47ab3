"""The databases that every test of the store runs on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.db.database import Database, sqlite_url
from tests.postgres import Databases


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return a kind of database that the store knows; a test that asks for one runs on each."""
    name: str = request.param
    return name


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database without any table."""
    if kind == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
        return
    databases: Databases = request.getfixturevalue("postgres")
    with databases.new() as url:
        yield url


@pytest.fixture
def empty_database(empty_url: str) -> Iterator[Database]:
    """Give a database without any table."""
    with _opened(empty_url) as database:
        yield database


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database with this version's schema."""
    if kind == "sqlite":
        url = sqlite_url(tmp_path / "test.db")
        with _opened(url) as database:
            migrations.upgrade(database.engine)
        yield url
        return
    databases: Databases = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("migrated")
    with databases.new(template=template) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Give a database with this version's schema."""
    with _opened(database_url) as database:
        yield database


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    """Give a database on SQLite, for what only SQLite has."""
    with _opened(sqlite_url(tmp_path / "sqlite.db")) as database:
        migrations.upgrade(database.engine)
        yield database


@pytest.fixture
def postgres_url(postgres: Databases, migrated: str) -> Iterator[str]:
    """Give the URL of a database on PostgreSQL, for what only PostgreSQL has."""
    with postgres.new(template=migrated) as url:
        yield url


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """Give a database on PostgreSQL."""
    with _opened(postgres_url) as database:
        yield database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a SQLite file may be, for what only SQLite has."""
    return tmp_path / "file.db"
