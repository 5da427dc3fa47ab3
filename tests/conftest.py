"""What every test may use, and how hard Hypothesis tries."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from gpukeeper.store import migrations
from gpukeeper.store.db.database import Database
from gpukeeper.telemetry import tracing
from tests.postgres import Databases, server_url

if TYPE_CHECKING:
    from tests.telemetry.collector import Recording

# The same examples in every run, so that nobody's change fails for what it did not touch.
settings.register_profile("default", derandomize=True, deadline=None)
# New examples in every run, and many: `HYPOTHESIS_PROFILE=fuzz`.
settings.register_profile("fuzz", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# They run whole systems, and again what the tests of the parts have run.
_WHOLE = ("chaos", "crash", "docs", "e2e", "replicas")


# With so many of its cases a test of the engine runs on PostgreSQL, too: what differs there is the
# store, and not what Novita does.  With `GPUKEEPER_TEST_ALL_CASES=1` it runs with all of them.
_CASES_ON_POSTGRES = 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Measure coverage where that costs little, and let PostgreSQL repeat what it may change.

    Measuring slows a test down by more than half.
    """
    cases: Counter[str] = Counter()
    left_out: list[pytest.Item] = []
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        is_repeated = folder == "engine" and "[postgres" in item.name
        if folder in _WHOLE or is_repeated:
            item.add_marker("no_cover")
        if is_repeated:
            test = item.nodeid.partition("[")[0]
            cases[test] += 1
            if cases[test] > _CASES_ON_POSTGRES:
                left_out.append(item)
    if left_out and "GPUKEEPER_TEST_ALL_CASES" not in os.environ:
        config.hook.pytest_deselected(items=left_out)
        unwanted = set(left_out)
        items[:] = [item for item in items if item not in unwanted]


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


@pytest.fixture
def recording() -> Iterator["Recording"]:
    """Trace into a recording during a test."""
    # Few tests need the SDK, whose import takes as long as many tests.
    from tests.telemetry.collector import Recording

    recording = Recording()
    recording.begin()
    yield recording
    tracing.stop_export()
