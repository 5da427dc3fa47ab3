"""What is built from the settings, on a new data directory and on one that was used before."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta

import pytest

from gpukeeper.config import Settings
from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.domain.instances import Status
from gpukeeper.runtime import Role, Runtime, build
from gpukeeper.store import instances
from gpukeeper.store.leases import Lease
from tests.runtime.conftest import Configure
from tests.store.rows import HOOK, NOW, an_instance, an_outbox, became, claimed, stored

Build = Callable[..., Runtime]


@pytest.fixture
def built(configure: Configure) -> Iterator[Build]:
    """Give a function that builds a service and closes its database in the end."""
    with ExitStack() as stack:

        def make(role: Role = Role.ALL, **variables: str) -> Runtime:
            runtime = build(configure(**variables), role)
            stack.callback(runtime.database.close)
            return runtime

        yield make


def test_an_empty_directory_becomes_a_data_directory_that_only_we_may_read(
    built: Build, configure: Configure
) -> None:
    built()
    settings = configure()
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.database_path.stat().st_mode) == 0o600


def test_a_store_keeps_its_mark_and_another_has_its_own(built: Build, configure: Configure) -> None:
    first = built()
    first.database.close()
    other = str(configure().data_dir / "other")
    assert built().service.deployment == first.service.deployment
    assert built(GPUKEEPER_DATA_DIR=other).service.deployment != first.service.deployment


@pytest.mark.parametrize(
    ("role", "loops"),
    [
        (Role.ALL, ["events", "look", "buy", "reconcile", "deliver", "retention"]),
        (Role.ENGINE, ["events", "look", "buy", "reconcile", "deliver", "retention"]),
        (Role.API, ["events"]),
    ],
)
async def test_a_role_has_the_loops_that_it_runs(
    built: Build, role: Role, loops: list[str]
) -> None:
    runtime = built(role)
    health = await runtime.service.health()
    assert [loop["name"] for loop in health.body["loops"]] == loops
    assert health.body["role"] == role.value
    assert not health.is_ready
    assert health.problems == tuple(f"the {loop} loop has ended" for loop in loops)


@pytest.mark.parametrize(
    ("variables", "patience"),
    [
        ({}, timedelta(seconds=150)),
        (
            {"GPUKEEPER_POLL_INTERVAL": "120", "GPUKEEPER_NOVITA_TIMEOUT": "5"},
            timedelta(seconds=245),
        ),
        ({"GPUKEEPER_SWEEP_INTERVAL": "0"}, None),
    ],
)
def test_answers_count_as_stale_after_two_looks_that_did_not_come(
    built: Build, variables: dict[str, str], patience: timedelta | None
) -> None:
    assert built(**variables).service.patience == patience


@pytest.mark.parametrize("role", list(Role))
async def test_an_engine_takes_over_what_a_dead_one_held_and_an_api_does_not(
    built: Build, role: Role
) -> None:
    dead = built(Role.API)
    await stored(dead.database, an_instance(1), an_instance(2))
    await became(dead.database, "ins_000001", Status.CREATING, outbox=an_outbox(HOOK))
    lease = Lease("dead", NOW + timedelta(days=1))
    await dead.database.write(lambda c: instances.claim(c, NOW, 10, lease))
    await claimed(dead.database, lease=lease)
    dead.database.close()
    database = built(role).database
    free = await database.write(lambda c: instances.claim(c, NOW, 10, Lease("new", NOW)))
    due = await claimed(database)
    assert (len(free), len(due)) == ((2, 1) if role.has_engine else (0, 0))


def _newer(settings: Settings) -> None:
    with closing(sqlite3.connect(settings.database_path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def test_a_database_of_a_newer_version_is_refused(built: Build, configure: Configure) -> None:
    built().database.close()
    _newer(configure())
    with pytest.raises(InvalidConfiguration, match="newer gpukeeper"):
        built()


def test_a_database_that_cannot_be_opened_is_refused_by_name(
    built: Build, configure: Configure
) -> None:
    nowhere = configure().data_dir / "missing" / "x.db"
    with pytest.raises(InvalidConfiguration, match="cannot be opened") as failure:
        built(GPUKEEPER_DATABASE_URL=f"sqlite:///{nowhere}")
    assert [fault.field for fault in failure.value.faults] == ["GPUKEEPER_DATABASE_URL"]


def test_two_rows_never_get_the_same_id(built: Build) -> None:
    outbox = built().service.outbox
    made = {outbox.new_id("evt", NOW) for _ in range(1000)}
    assert len(made) == 1000
    assert {text[:4] for text in made} == {"evt_"}


def test_a_service_on_sqlite_is_spared_what_only_others_need(
    built: Build, configure: Configure
) -> None:
    built().database.close()
    program = (
        "import sys; from gpukeeper import config, process, runtime; "
        "runtime.build(config.load()).database.close(); "
        "print([name for name in ('alembic', 'psycopg') if name in sys.modules])"
    )
    directory = str(configure().data_dir)
    env = os.environ | {"NOVITA_API_KEY": "key", "GPUKEEPER_DATA_DIR": directory}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
