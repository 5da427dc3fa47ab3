"""A store belongs to one account of Novita's: another one is told, a new key of it is not."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gpukeeper.config import Settings
from gpukeeper.domain.errors import InvalidConfiguration, NovitaError
from gpukeeper.domain.instances import Status
from gpukeeper.process import check, migrate
from gpukeeper.runtime import Runtime, build, store_account
from gpukeeper.runtime.maintenance import rebind
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from gpukeeper.simulator.novita_api.simulator_server import Simulator
from gpukeeper.store import facts, instances
from tests.postgres import Databases
from tests.runtime.conftest import Configure
from tests.store.rows import SEAL, SILENT, an_instance

OLD_KEY = "sk_the-first-key-of-this-account"
NEW_KEY = "sk_another-key-wherever-it-is-from"


@pytest.fixture
def novita() -> Iterator[Simulator]:
    """Give a Novita of the test's own."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the variables of a database of each kind."""
    if request.param == "sqlite":
        yield {}
        return
    databases: Databases = request.getfixturevalue("postgres")
    with databases.new() as url:
        yield {"GPUKEEPER_DATABASE_URL": url}


def keep_machine(settings: Settings, novita_id: str | None = None) -> None:
    """Have the store of the settings know a machine, or an open order without one."""
    runtime = build(settings)
    with runtime.database.engine.begin() as connection:
        kept = an_instance(novita_id=novita_id)
        if novita_id is not None:
            kept = replace(kept, status=Status.RUNNING, due_at=None)
        instances.add(connection, kept, SEAL, SILENT)
    runtime.database.close()


def start(settings: Settings) -> str:
    """Start the service and stop it; return what Novita's balance call said of the key."""

    async def run(runtime: Runtime) -> str:
        async with runtime.running():
            try:
                await runtime.novita.balance()
            except NovitaError as error:
                return error.message
            return "ok"

    async def begin() -> str:
        return await run(await asyncio.to_thread(build, settings))

    return asyncio.run(begin())


def machine_at(novita: Simulator) -> str:
    """Return a machine that the account has."""
    with novita.world.lock:
        (machine,) = add_foreign_machines(novita.world, ForeignMachines(name="worker"))
    return machine.id


def test_a_store_is_not_used_with_another_novita(
    configure: Configure, novita: Simulator, database: dict[str, str]
) -> None:
    ours = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY, **database)
    keep_machine(ours, machine_at(novita))
    real = configure(NOVITA_BASE_URL="https://api.novita.ai", NOVITA_API_KEY=NEW_KEY, **database)
    for command in (migrate, check, build):
        with pytest.raises(InvalidConfiguration) as refused:
            command(real)
        (fault,) = refused.value.faults
        assert fault.field == "NOVITA_BASE_URL"
        assert novita.url in fault.message
        assert "https://api.novita.ai" in fault.message
        assert "…ount" in fault.message
        assert "gpukeeper migrate --rebind" in fault.message
        assert OLD_KEY not in fault.message
        assert NEW_KEY not in fault.message
    assert start(ours) == "ok"


def test_an_open_order_without_a_machine_is_not_bought_at_another_novita(
    configure: Configure, novita: Simulator
) -> None:
    keep_machine(configure(NOVITA_BASE_URL=novita.url))
    with pytest.raises(InvalidConfiguration, match="belongs to"):
        build(configure(NOVITA_BASE_URL="https://api.novita.ai"))


def test_a_new_key_of_the_same_account_passes(
    configure: Configure, novita: Simulator, database: dict[str, str]
) -> None:
    keep_machine(
        configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY, **database),
        machine_at(novita),
    )
    rotated = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=NEW_KEY, **database)
    assert all(result.is_ok for result in check(rotated) if result.name != "configuration")
    assert start(rotated) == "ok"
    migrate(rotated)
    # From then on it is known, as the old one is: replicas are restarted one after the other.
    assert build_is_proven(rotated)
    assert build_is_proven(
        configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY, **database)
    )


def build_is_proven(settings: Settings) -> bool:
    """Whether the service starts without having to prove anything."""
    runtime = build(settings)
    runtime.database.close()
    return runtime.proof is None


def test_a_key_to_which_none_of_the_machines_is_shown_is_another_accounts(
    configure: Configure, novita: Simulator, database: dict[str, str]
) -> None:
    keep_machine(
        configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY, **database),
        "00000000000000aa",
    )
    machine_at(novita)
    other = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=NEW_KEY, **database)
    for command in (migrate, check, start):
        with pytest.raises(InvalidConfiguration) as refused:
            command(other)
        (fault,) = refused.value.faults
        assert fault.field == "NOVITA_API_KEY"
        assert "…ount" in fault.message
        assert "…from" in fault.message


def test_an_account_that_cannot_be_proven_yet_starts_and_is_asked_for_nothing(
    configure: Configure,
) -> None:
    keep_machine(configure(NOVITA_API_KEY=OLD_KEY), "00000000000000aa")
    rotated = configure(NOVITA_API_KEY=NEW_KEY)
    migrate(rotated)
    check(rotated)
    assert "could not be reached" in start(rotated)


async def test_a_key_is_proven_as_soon_as_novita_can_be_asked(
    configure: Configure, novita: Simulator
) -> None:
    machine = machine_at(novita)
    settings = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY)
    await asyncio.to_thread(keep_machine, settings, machine)
    rotated = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=NEW_KEY)
    runtime = await asyncio.to_thread(build, rotated)
    removed = novita.world.machines.pop(machine)
    assert runtime.proof is not None
    async with closing(runtime):
        with pytest.raises(store_account.WrongAccount, match="does not name the account"):
            await runtime.novita.balance()
        with pytest.raises(store_account.WrongAccount):
            await runtime.novita.delete(machine)
    novita.world.machines[machine] = removed
    again = await asyncio.to_thread(build, rotated)
    async with closing(again):
        assert await again.novita.balance() > 0
    assert build_is_proven(rotated)


@asynccontextmanager
async def closing(runtime: Runtime) -> AsyncIterator[None]:
    """Close a runtime that was not run."""
    yield
    await runtime.novita.aclose()
    await runtime.sender.aclose()
    runtime.database.close()


@pytest.mark.parametrize("has_history", [False, True])
def test_a_store_in_which_nothing_is_open_takes_a_new_key(
    configure: Configure, novita: Simulator, has_history: bool
) -> None:
    ours = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY)
    if has_history:
        keep_machine(ours, machine_at(novita))
        runtime = build(ours)
        with runtime.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE instances SET gone_at = 1, due_at = NULL")
        runtime.database.close()
    else:
        migrate(ours)
    assert build_is_proven(configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=NEW_KEY))


def test_a_store_that_holds_nothing_takes_another_novita(
    configure: Configure, novita: Simulator
) -> None:
    migrate(configure())
    migrate(configure(NOVITA_BASE_URL=novita.url))


def test_a_store_from_before_takes_the_account_that_it_is_started_with(
    configure: Configure, novita: Simulator
) -> None:
    ours = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=OLD_KEY)
    keep_machine(ours, machine_at(novita))
    runtime = build(ours)
    with runtime.database.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM facts WHERE key = 'account'")
    runtime.database.close()
    assert build_is_proven(ours)
    with pytest.raises(InvalidConfiguration):
        build(configure())


def test_a_person_binds_a_store_to_another_account(
    configure: Configure, novita: Simulator, database: dict[str, str]
) -> None:
    keep_machine(configure(**database), "00000000000000aa")
    other = configure(NOVITA_BASE_URL=novita.url, NOVITA_API_KEY=NEW_KEY, **database)
    told: list[str] = []

    def refuse(sentences: str) -> None:
        told.append(sentences)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebind(other, refuse)
    assert "http://127.0.0.1:9" in told[0]
    assert novita.url in told[0]
    assert "Machines that it knows: 1" in told[0]
    with pytest.raises(InvalidConfiguration):
        build(other)
    rebind(other, told.append)
    assert build_is_proven(other)
    with pytest.raises(InvalidConfiguration):
        build(configure(**database))


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("https://API.novita.ai:443", "https://api.novita.ai/"),
        ("http://[::1]:9090/x", "http://[::1]:9090/x/"),
    ],
)
def test_one_address_may_be_spelled_in_several_ways(
    configure: Configure, one: str, same: str
) -> None:
    keep_machine(configure(NOVITA_BASE_URL=one))
    assert build_is_proven(configure(NOVITA_BASE_URL=same))


def test_a_key_is_not_in_the_store(configure: Configure, tmp_path: Path) -> None:
    settings = configure(NOVITA_API_KEY=OLD_KEY)
    migrate(settings)
    runtime = build(settings)
    with runtime.database.engine.begin() as connection:
        kept = facts.find_account(connection)
    runtime.database.close()
    assert kept is not None
    assert OLD_KEY[:-4] not in repr(kept)
    assert kept.hint == f"…{OLD_KEY[-4:]}"
