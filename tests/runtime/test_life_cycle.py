"""A service that runs: its loops live, wake each other, and end without losing anything."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gpukeeper.domain.deliveries import Delivery, DeliveryStatus
from gpukeeper.domain.instances import Order, Status
from gpukeeper.runtime import Role, Runtime, build, life_cycle
from gpukeeper.service import Health, OrderFailed
from tests.runtime.conftest import NOWHERE, Configure

ORDER = Order(name="trainer", product_name="RTX 4090 24GB", template_id="tpl")
# So many looks at the health are enough for any loop to have turned once.
_LOOKS = 1000


@pytest.fixture
def runtime(configure: Configure) -> Runtime:
    """Give a service that never looks at Novita by itself."""
    return build(configure(GPUKEEPER_SWEEP_INTERVAL="0"))


async def _ready(runtime: Runtime) -> Health:
    """Return the service's health as soon as it is ready, or as it is after many looks."""
    for _ in range(_LOOKS):
        health = await runtime.service.health()
        if health.is_ready:
            break
    return health


async def _only_delivery(runtime: Runtime) -> Delivery:
    (view,), _ = await runtime.service.deliveries(
        status=None, instance_id=None, limit=9, cursor=None
    )
    return view.delivery


def _rows(path: Path, statement: str) -> list[Any]:
    """Return what another process sees in the database."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


async def test_a_service_is_ready_once_every_loop_has_turned(runtime: Runtime) -> None:
    async with runtime.running():
        health = await _ready(runtime)
        assert health.problems == ()
        assert all(loop["lastTurnAt"] for loop in health.body["loops"])


async def test_an_api_without_an_engine_is_ready_and_ends_at_once(configure: Configure) -> None:
    runtime = build(configure(), Role.API)
    async with runtime.running():
        assert (await _ready(runtime)).is_ready
    with pytest.raises(RuntimeError):
        await runtime.service.health()


async def test_an_order_wakes_the_loop_that_buys_and_its_answer_comes_back(
    runtime: Runtime,
) -> None:
    async with runtime.running():
        await _ready(runtime)
        # A loop that is not woken rests for 5 s.
        async with asyncio.timeout(4):
            with pytest.raises(OrderFailed) as failure:
                await runtime.service.order(ORDER)
    assert failure.value.instance.status is Status.FAILED


async def test_a_test_event_wakes_the_loop_that_delivers(runtime: Runtime) -> None:
    async with runtime.running():
        await _ready(runtime)
        async with asyncio.timeout(4):
            await runtime.service.send_test()
            while not (await _only_delivery(runtime)).attempts:
                continue
        delivery = await _only_delivery(runtime)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.PENDING, 1)


async def test_a_novita_that_cannot_be_reached_is_shown_and_stops_nothing(
    configure: Configure,
) -> None:
    runtime = build(configure())
    async with runtime.running():
        health = await _ready(runtime)
        for _ in range(_LOOKS):
            if health.body["novita"]["reachable"] is not None:
                break
            health = await runtime.service.health()
        assert health.body["novita"]["reachable"] is False
        assert health.is_ready


async def test_work_that_a_last_turn_starts_is_finished_too(
    runtime: Runtime, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.engine is not None
    workers = runtime.engine.deliverer.workers
    turning, may_claim = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await runtime.service.send_test()

    async def turn() -> None:
        turning.set()
        await may_claim.wait()
        workers.start(work(), "dlv_1", "token")

    monkeypatch.setattr(runtime.engine.loops[-1], "_turn", turn)
    async with runtime.running():
        await turning.wait()
        asyncio.get_running_loop().call_soon(may_claim.set)
    assert _rows(configure().database_path, "SELECT url FROM deliveries") == [(f"{NOWHERE}/hook",)]


async def test_work_under_way_is_finished_before_everything_is_closed(
    runtime: Runtime, configure: Configure
) -> None:
    assert runtime.engine is not None
    may_end = asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        await runtime.service.send_test()

    async with runtime.running():
        runtime.engine.reconciler.workers.start(work(), "ins_1", "token")
        asyncio.get_running_loop().call_soon(may_end.set)
    assert _rows(configure().database_path, "SELECT url FROM deliveries") == [(f"{NOWHERE}/hook",)]


async def test_work_that_never_ends_is_cancelled(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.engine is not None
    outcome: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise

    monkeypatch.setattr(life_cycle, "_LAST_WORK", timedelta(0))
    async with runtime.running():
        runtime.engine.deliverer.workers.start(hang(), "dlv_1", "token")
        await asyncio.sleep(0)
    assert outcome == ["cancelled"]


async def test_a_look_that_takes_too_long_is_cancelled(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime.engine is not None
    looking, outcome = asyncio.Event(), list[str]()

    async def hang() -> None:
        looking.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise

    monkeypatch.setattr(life_cycle, "_LAST_TURN", timedelta(0))
    monkeypatch.setattr(runtime.engine.loops[0], "_turn", hang)
    async with runtime.running():
        await looking.wait()
    assert outcome == ["cancelled"]


async def test_a_service_that_breaks_off_is_closed_all_the_same(runtime: Runtime) -> None:
    with pytest.raises(LookupError):
        async with runtime.running():
            raise LookupError
    with pytest.raises(RuntimeError):
        await runtime.service.health()
