"""What every test may use."""

from collections.abc import Iterator

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.database import Database
from tests.postgres import Databases, server_url


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, the only event loop the program supports."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Give the session's PostgreSQL server, which is started by the first test that needs it."""
    with server_url() as url:
        yield Databases(url)


@pytest.fixture(scope="session")
def migrated(postgres: Databases) -> Iterator[str]:
    """Give the name of a database with this version's schema, for others to be copies of."""
    with postgres.new() as url:
        database = Database(url)
        migrations.upgrade(database.engine)
        database.close()
        yield postgres.name(url)
