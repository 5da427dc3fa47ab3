"""All calls share one pace: in order of arrival, slower after a complaint."""

from functools import partial

import anyio
import httpx2
import pytest

from gpukeeper.domain.errors import RateLimited
from gpukeeper.novita.client import CallReport, NovitaClient
from tests.novita.bodies import error, machine, rows
from tests.novita.scripted import FakeTime, ScriptedNovita, client_of, reply

THROTTLED = error(429, "RATE_LIMIT_EXCEEDED", "slow down")


async def get_many(client: NovitaClient, count: int) -> None:
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(client.get, f"m{number}")


async def test_calls_go_out_in_order_of_arrival_at_the_rate() -> None:
    time = FakeTime()
    started_at = time.now
    seen: list[tuple[str, float]] = []

    def novita(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.params["instanceId"], (time.now - started_at).total_seconds()))
        return reply(200, machine(request.url.params["instanceId"]))

    await get_many(client_of(novita, time, rate_per_second=2), 6)
    assert seen == [("m0", 0), ("m1", 0), ("m2", 0.5), ("m3", 1), ("m4", 1.5), ("m5", 2)]


async def test_the_wait_for_its_turn_is_reported_with_each_call() -> None:
    reports: list[CallReport] = []
    novita = ScriptedNovita(*[reply(200, machine("m1"))] * 4)
    client = client_of(novita, rate_per_second=2, reports=reports)

    for _ in range(4):
        await client.get("m1")

    assert [report.paced_seconds for report in reports] == [0, 0, 0.5, 0.5]


async def test_the_rate_that_is_let_through_falls_after_a_complaint() -> None:
    client = client_of(ScriptedNovita(reply(429, THROTTLED)), rate_per_second=10, retries=0)
    assert client.rate_per_second == 10

    with pytest.raises(RateLimited):
        await client.get("m1")

    assert client.rate_per_second == 5


async def test_a_complaint_about_one_call_slows_all_of_them() -> None:
    time = FakeTime()
    client = client_of(
        ScriptedNovita(reply(429, THROTTLED), reply(200, machine("m1"))),
        time,
        rate_per_second=10,
        retries=0,
    )
    with pytest.raises(RateLimited):
        await client.get("m1")
    started_at = time.now
    async with anyio.create_task_group() as group:
        for _ in range(11):
            group.start_soon(client.get, "m1")
    assert 1.5 < (time.now - started_at).total_seconds() < 2.1


async def test_a_pause_that_novita_asked_for_holds_every_call() -> None:
    time = FakeTime()
    client = client_of(
        ScriptedNovita(reply(429, THROTTLED, retry_after="30"), reply(200, machine("m1"))),
        time,
        retries=0,
    )
    with pytest.raises(RateLimited):
        await client.get("m1")
    await client.get("m1")
    assert time.slept == [30]


async def test_a_cancelled_call_does_not_hold_up_the_others() -> None:
    time = FakeTime()
    novita = ScriptedNovita(reply(200, machine("m0")), reply(200, machine("m2")))
    client = client_of(novita, time, rate_per_second=1)
    await client.get("m0")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await client.get("m1")
    await client.get("m2")
    assert [request.url.params["instanceId"] for request in novita.requests] == ["m0", "m2"]


async def test_a_listing_tells_of_each_try_and_of_each_move_of_the_line_before_it() -> None:
    time = FakeTime()
    started_at = time.now
    told: list[float] = []

    def tell() -> None:
        told.append((time.now - started_at).total_seconds())

    def novita(request: httpx2.Request) -> httpx2.Response:
        asked_for = request.url.params.get("instanceId")
        return reply(200, machine(asked_for) if asked_for else rows("m1"))

    client = client_of(novita, time, rate_per_second=1)
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(client.get, f"m{number}")
        group.start_soon(partial(client.list_all, on_progress=tell))
    assert told == [1, 2, 3]
