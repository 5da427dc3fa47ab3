"""What every test may use, and how hard Hypothesis tries."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from gpukeeper.store import migrations
from gpukeeper.store.database import Database
from tests.postgres import Databases, server_url

# The same examples in every run, so that nobody's change fails for what it did not touch.
settings.register_profile("default", derandomize=True, deadline=None)
# New examples in every run, and many: `HYPOTHESIS_PROFILE=fuzz`.
settings.register_profile("fuzz", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# They run whole systems, and again what the tests of the parts have run.
_WHOLE = ("chaos", "crash", "docs", "e2e", "replicas")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure coverage where that costs little: it slows a test down by more than half."""
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder in _WHOLE or (folder == "engine" and "[postgres" in item.name):
            item.add_marker("no_cover")


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
