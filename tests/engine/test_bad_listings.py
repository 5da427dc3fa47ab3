"""Nothing is concluded from bad listings: no living machine is given up, and none bought again."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gpukeeper.domain.instances import Instance, Status
from gpukeeper.simulator.machines.interventions import ActionDetails, perform_action
from tests.engine.conftest import Build
from tests.engine.rig import Rig, build_rig

FLEET = 5
GIVEN_UP = {Status.LOST, Status.RECLAIMED, Status.DELETED, Status.DELETING, Status.FAILED}
# What a listing, or the question for one machine, may come to without the machine being gone.
LIST_FAULTS = [
    {"kind": "empty-list"},
    {"kind": "short-list", "rows": 0},
    {"kind": "short-list", "rows": 1},
    {"kind": "short-list", "rows": 4},
    {"kind": "shift-pages", "rows": 1},
    {"kind": "shift-pages", "rows": 3},
    {"kind": "error"},
    {"kind": "error", "status": 404, "reason": "RESOURCE_NOT_FOUND"},
    {"kind": "error-200"},
    {"kind": "html"},
    {"kind": "html", "status": 200},
    {"kind": "truncated"},
    {"kind": "empty"},
    {"kind": "reset"},
    {"kind": "rate-limit", "retry_after": 7},
    {"kind": "unauthorized"},
]
GET_FAULTS = [
    {"kind": "error"},
    {"kind": "html"},
    {"kind": "html", "status": 404},
    {"kind": "truncated"},
    {"kind": "empty"},
    {"kind": "reset"},
    {"kind": "rate-limit", "retry_after": 7},
]
SWITCHES = [
    {"list_behind_seconds": 45.0},
    {"list_behind_seconds": 0.0},
    {"page_size_max": 2},
    {"page_size_max": 100},
    {"page_base": "one"},
    {"empty_lists": "null"},
    {"total_as": "string"},
    {"odd_status_probability": 0.3},
    {"odd_status_probability": 0.0},
    {"spot_in_get": False},
]


@dataclass(frozen=True, slots=True)
class Weather:
    """What goes wrong, how often, and for how long the program has to live with it."""

    fault: dict[str, Any] | None = None
    route: str = "list"
    probability: float = 1.0
    switch: dict[str, Any] | None = None
    goes_back: int | None = None
    loses_answer: bool = False
    minutes: float = 2


def _weathers() -> st.SearchStrategy[Weather]:
    minutes = st.sampled_from([0.5, 2, 5, 9])
    chance = st.sampled_from([0.3, 1.0])
    return st.one_of(
        st.builds(Weather, st.sampled_from(LIST_FAULTS), st.just("list"), chance, minutes=minutes),
        st.builds(Weather, st.sampled_from(GET_FAULTS), st.just("get"), chance, minutes=minutes),
        st.builds(Weather, switch=st.sampled_from(SWITCHES), minutes=minutes),
        st.builds(Weather, goes_back=st.integers(0, FLEET - 1), minutes=minutes),
        st.builds(Weather, loses_answer=st.just(True), minutes=st.just(0.1)),
    )


@settings(
    deadline=None,
    derandomize=True,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(weathers=st.lists(_weathers(), min_size=1, max_size=6))
@example(weathers=[Weather({"kind": "empty-list"}, minutes=100)])
@example(weathers=[Weather(loses_answer=True), Weather({"kind": "empty-list"}, minutes=9)])
def test_whatever_listings_say_no_living_machine_is_given_up_and_none_bought_again(
    weathers: list[Weather], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_live_through(weathers, tmp_path_factory.mktemp("rig")))


async def _live_through(weathers: list[Weather], directory: Path) -> None:
    rig = build_rig(directory)
    try:
        fleet = [await rig.order(name=f"node-{number}") for number in range(FLEET)]
        await rig.advance(minutes=3)
        for weather in weathers:
            fleet += await _begin(rig, weather, fleet)
            await rig.advance(minutes=weather.minutes)
            await _check(rig, fleet)
        rig.world.faults.clear()
        rig.switch(list_behind_seconds=0.0, odd_status_probability=0.0)
        await rig.advance(minutes=20)
        await _check(rig, fleet)
        statuses = [(await rig.find(row.id)).status for row in fleet]
        assert statuses == [Status.RUNNING] * len(fleet)
        assert len(rig.machines()) == len(fleet)
        assert await rig.broken_at_rest() == []
        health = await rig.service.health()
        assert health.body["novita"]["fleetVanished"] is False
    finally:
        await rig.close()


async def _begin(rig: Rig, weather: Weather, fleet: list[Instance]) -> list[Instance]:
    """Let the weather set in; return what is ordered in it."""
    if weather.fault is not None:
        rig.fault(
            weather.fault["kind"],
            weather.route,
            probability=weather.probability,
            for_seconds=60 * weather.minutes,
            **{name: value for name, value in weather.fault.items() if name != "kind"},
        )
    if weather.switch is not None:
        rig.switch(**weather.switch)
    if weather.goes_back is not None:
        machine = rig.world.machines[
            str((await rig.find(fleet[weather.goes_back].id)).machine.novita_id)
        ]
        perform_action(rig.world, machine, "stale-once", ActionDetails())
    if not weather.loses_answer:
        return []
    rig.fault("reset", "create", when="after", times=1)
    return [await rig.order(name="unanswered")]


async def _check(rig: Rig, fleet: list[Instance]) -> None:
    for row in fleet:
        assert (await rig.find(row.id)).status not in GIVEN_UP
        assert GIVEN_UP.isdisjoint(Status(word) for word in await _words(rig, row))
    assert rig.calls("create") == len(fleet)
    assert rig.calls("delete") == rig.calls("stop") == rig.calls("start") == 0


async def _words(rig: Rig, row: Instance) -> list[str]:
    told = await rig.history(row.id)
    return ["creating" if word == "created" else word for word in told]


@pytest.mark.parametrize(
    ("size", "vanish", "is_alarm"),
    [(3, 3, True), (4, 3, True), (5, 3, True), (6, 3, False), (2, 2, False), (7, 4, True)],
)
async def test_at_least_three_and_more_than_half_are_too_many_to_be_gone_at_once(
    build: Build, size: int, vanish: int, is_alarm: bool
) -> None:
    rig = build()
    fleet = [await rig.order(name=f"node-{number}") for number in range(size)]
    await rig.advance(minutes=3)
    for row in fleet[:vanish]:
        rig.console(row, "vanish")
    with capture_logs() as logs:
        await rig.advance(minutes=5)
    alarms = [entry for entry in logs if entry["event"] == "fleet_vanished"]
    assert bool(alarms) is is_alarm
    assert {entry["log_level"] for entry in alarms} <= {"error"}
    statuses = [(await rig.find(row.id)).status for row in fleet[:vanish]]
    assert statuses == [Status.RUNNING if is_alarm else Status.LOST] * vanish
    health = await rig.service.health()
    assert health.body["novita"]["fleetVanished"] is is_alarm
    assert (await rig.service.census()).vanished == (vanish if is_alarm else 0)


async def test_an_alarm_outlasts_listings_with_holes_and_failures_and_ends_with_a_whole_one(
    rig: Rig,
) -> None:
    for number in range(4):
        await rig.order(name=f"node-{number}")
    await rig.advance(minutes=3)
    rig.fault("empty-list", "list", for_seconds=170)
    await rig.advance(minutes=2)
    assert (await rig.service.census()).vanished == 4
    rig.world.faults.clear()
    for kind, details in (("short-list", {"rows": 0}), ("error", {})):
        rig.fault(kind, "list", for_seconds=130, **details)
        await rig.advance(seconds=125)
        rig.world.faults.clear()
        assert (await rig.service.census()).vanished == 4
    await rig.advance(minutes=2)
    assert (await rig.service.census()).vanished == 0
    # Each was asked about once for its SSH command; two workers at a time may ask twice.
    assert rig.calls("get") < 2 * 4


async def test_a_machine_is_gone_only_after_two_looks_and_two_confirmations(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "vanish")
    before = rig.calls("get")
    seen: list[tuple[int, Status]] = []
    for _ in range(4):
        await rig.engine.sweep.look()
        await rig.work()
        seen.append((rig.calls("get") - before, (await rig.find(running.id)).status))
    assert seen[0] == (1, Status.RUNNING)
    assert seen[1] == (2, Status.LOST)
    assert seen[2:] == seen[1:2] * 2


async def test_a_confirmation_that_fails_confirms_nothing(rig: Rig) -> None:
    running = await rig.running()
    rig.fault("empty-list", "list", for_seconds=590)
    rig.fault("html", "get", status=404, for_seconds=590)
    await rig.advance(minutes=9)
    assert (await rig.find(running.id)).status is Status.RUNNING
    assert (await rig.find(running.id)).watch.misses == 0


async def test_a_look_that_is_not_complete_is_told_apart_from_one_that_failed(rig: Rig) -> None:
    await rig.running()
    told: list[tuple[bool, int]] = []
    sweep = replace(
        rig.engine.sweep,
        on_look=lambda looks, calls, took: told.append((looks.error is not None, calls)),
    )
    rig.fault("short-list", "list", rows=0, times=9)
    await sweep.look()
    rig.world.faults.clear()
    rig.fault("html", "list", status=503, times=9)
    await sweep.look()
    assert [is_failed for is_failed, _ in told] == [True, True]
    assert told[0][1] > 0
    assert told[1][1] == 0
