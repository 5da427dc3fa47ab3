"""Services that share a PostgreSQL database: what they agree on, and what they tell each other."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from gpukeeper.domain.errors import InvalidConfiguration
from gpukeeper.domain.instances import Order
from gpukeeper.runtime import Role, build
from gpukeeper.service import OrderFailed
from gpukeeper.store import instances
from gpukeeper.store.leases import Lease
from tests.postgres import Databases
from tests.runtime.conftest import Configure
from tests.store.rows import NOW, SECOND, an_instance, stored

ORDER = Order(name="trainer", product_name="RTX 4090 24GB", template_id="tpl")
KEYS = {
    "GPUKEEPER_SECRET_KEY": "A" * 43 + "=",
    "GPUKEEPER_WEBHOOK_SECRET": "whsec_" + "A" * 32,
}


@pytest.fixture
def url(postgres: Databases) -> Iterator[str]:
    """Give the URL of an empty database."""
    with ExitStack() as stack:
        yield stack.enter_context(postgres.new())


def test_a_process_with_another_secret_does_not_start(configure: Configure, url: str) -> None:
    shared = {"GPUKEEPER_DATABASE_URL": url}
    build(configure(**shared)).database.close()
    build(configure(**shared)).database.close()
    with pytest.raises(InvalidConfiguration) as failure:
        build(configure(**shared, GPUKEEPER_DATA_DIR=str(configure().data_dir / "other")))
    assert [fault.field for fault in failure.value.faults] == [
        "GPUKEEPER_SECRET_KEY",
        "GPUKEEPER_WEBHOOK_SECRET",
    ]
    rotated = {**KEYS, "GPUKEEPER_SECRET_KEY": (configure().data_dir / "secret_key").read_text()}
    build(configure(**shared, **rotated)).database.close()


async def test_an_engine_that_starts_leaves_others_what_they_hold(
    configure: Configure, url: str
) -> None:
    with closing(build(configure(GPUKEEPER_DATABASE_URL=url)).database) as one:
        await stored(one, an_instance(1))
        lease = Lease("theirs", NOW + 20 * SECOND)
        await one.write(lambda c: instances.claim(c, NOW, 10, lease))
        with closing(build(configure(GPUKEEPER_DATABASE_URL=url)).database) as two:
            mine = Lease("mine", NOW + 20 * SECOND)
            assert await two.write(lambda c: instances.claim(c, NOW, 10, mine)) == []


async def test_an_order_at_an_api_wakes_the_engine_of_another_process(
    configure: Configure, url: str
) -> None:
    settings = configure(GPUKEEPER_DATABASE_URL=url, GPUKEEPER_SWEEP_INTERVAL="0")
    api, engine = build(settings, Role.API), build(settings, Role.ENGINE)
    async with api.running(), engine.running():
        for service in (api.service, engine.service):
            while not (await service.health()).is_ready:
                continue
        # A loop that is not woken rests for 5 s.
        async with asyncio.timeout(4):
            with pytest.raises(OrderFailed):
                await api.service.order(ORDER)


@pytest.mark.parametrize("database", ["nowhere", "template0"])
def test_a_database_that_cannot_be_used_is_refused_at_once(
    configure: Configure, postgres: Databases, database: str
) -> None:
    with pytest.raises(InvalidConfiguration, match=database):
        build(configure(GPUKEEPER_DATABASE_URL=postgres.url(database)))
