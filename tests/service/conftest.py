"""A database for what the use cases read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.db.database import Database, sqlite_url


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Give a database with this version's schema."""
    database = Database(sqlite_url(tmp_path / "test.db"))
    migrations.upgrade(database.engine)
    yield database
    database.close()
