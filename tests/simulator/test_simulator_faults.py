"""Transport faults in process: which request they meet, and what is left of the answer."""

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from gpukeeper.simulator.novita_api.fault_rules import FAULT_KINDS, LIST_ONLY, ROUTE_NAMES
from tests.simulator.simulator_driver import GPU, ORDER, Novita


async def names(novita: Novita) -> list[str]:
    """Return the names of all machines that really exist."""
    return [item["name"] for item in await novita.sim("GET", "/machines")]


async def test_a_rate_limit_may_say_when_to_come_back(novita: Novita) -> None:
    await novita.sim(
        "POST",
        "/faults",
        [
            {"kind": "rate-limit", "times": 1},
            {"kind": "rate-limit", "times": 1, "retry_after": 7},
            {"kind": "rate-limit", "times": 1, "retry_after": 7, "retry_after_as": "date"},
        ],
    )

    answers = [await novita.fetch("/clusters") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [429, 429, 429, 200]
    assert answers[0].json()["reason"] == "RATE_LIMIT_EXCEEDED"
    assert "retry-after" not in answers[0].headers
    assert answers[1].headers["retry-after"] == "7"
    until = parsedate_to_datetime(answers[2].headers["retry-after"])
    assert (until - novita.world.now()).total_seconds() == 7


async def test_errors_come_as_json_or_as_a_gateways_page(novita: Novita) -> None:
    for fault in (
        {"kind": "error", "times": 1},
        {"kind": "html", "times": 1, "status": 503, "retry_after": 3},
        {"kind": "html", "times": 1, "status": 520},
        {"kind": "unauthorized", "times": 1},
        {"kind": "error-200", "times": 1},
    ):
        await novita.sim("POST", "/faults", fault)

    error, page, odd_page, unauthorized, lie = [await novita.fetch("/clusters") for _ in range(5)]

    assert (error.status_code, error.json()["reason"]) == (500, "UNKNOWN")
    assert page.status_code == 503
    assert page.headers["content-type"] == "text/html"
    assert page.headers["retry-after"] == "3"
    assert "503 Service Unavailable" in page.text
    assert "520 Error" in odd_page.text
    assert unauthorized.status_code == 401
    assert (lie.status_code, lie.json()["code"]) == (200, 500)


@pytest.mark.parametrize("kind", ["error", "html", "rate-limit", "error-200"])
@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["trainer"])])
async def test_a_fault_comes_before_or_after_the_effect(
    novita: Novita, kind: str, when: str, left: list[str]
) -> None:
    await novita.sim("POST", "/faults", {"kind": kind, "route": "create", "when": when})

    await novita.post("/gpu/instance/create", **ORDER)

    assert await names(novita) == left


@pytest.mark.parametrize(("when", "left"), [("before", []), ("after", ["trainer"])])
@pytest.mark.parametrize("kind", ["reset", "timeout"])
async def test_a_lost_answer_is_a_broken_connection_in_process_too(
    novita: Novita, kind: str, when: str, left: list[str]
) -> None:
    await novita.sim("POST", "/faults", {"kind": kind, "route": "create", "when": when})

    with pytest.raises(ConnectionResetError):
        await novita.post("/gpu/instance/create", **ORDER)

    assert await names(novita) == left
    (visit,) = (await novita.sim("GET", "/requests"))["requests"]
    assert (visit["route"], visit["status"], visit["fault"]) == ("create", None, kind)


async def test_answers_can_be_spoiled(novita: Novita) -> None:
    for kind in ("truncated", "empty", "wrong-type"):
        await novita.sim("POST", "/faults", {"kind": kind, "times": 1})

    truncated, empty, wrong_type = [await novita.fetch("/clusters") for _ in range(3)]

    whole = (await novita.fetch("/clusters")).content
    assert truncated.content == whole[: len(whole) // 2]
    assert (empty.status_code, empty.content) == (200, b"")
    assert wrong_type.headers["content-type"] == "text/html"
    assert wrong_type.content == whole


async def test_an_answer_cut_off_in_the_middle_took_effect(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "cut", "route": "create"})
    with pytest.raises(ConnectionResetError):
        await novita.post("/gpu/instance/create", **ORDER)
    assert await names(novita) == ["trainer"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_slow_answer_is_the_true_one(novita: Novita, when: str) -> None:
    await novita.sim("POST", "/faults", {"kind": "slow", "seconds": 0.01, "when": when})
    assert await novita.create()


async def test_a_list_can_be_short_empty_or_shifting(novita: Novita) -> None:
    await novita.sim("POST", "/machines", {"name": "m", "count": 5})

    async def listed(**query: int) -> tuple[list[str], object]:
        page = (await novita.fetch("/gpu/instances", **query)).json()
        return [row["name"] for row in page["instances"]], page["total"]

    await novita.sim("POST", "/faults", {"kind": "empty-list", "times": 1})
    assert await listed() == ([], "0")
    await novita.sim("POST", "/faults", {"kind": "short-list", "rows": 2, "times": 1})
    assert await listed() == (["m-5", "m-4"], 5)
    await novita.sim("POST", "/faults", {"kind": "shift-pages", "route": "list", "times": 2})
    assert await listed(pageSize=2, pageNum=1) == (["m-5", "m-4"], 5)
    assert await listed(pageSize=2, pageNum=2) == (["m-2", "m-1"], 5)
    assert (await listed())[1] == 5


async def test_a_short_list_of_nothing_is_nothing(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "short-list"})
    assert await novita.rows() == []


async def test_list_faults_leave_other_routes_alone(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "empty-list"})
    assert (await novita.fetch("/clusters")).json()["data"]


async def test_a_rule_skips_counts_and_ends(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "error", "after": 1, "times": 2})
    statuses = [(await novita.fetch("/clusters")).status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]
    (rule,) = await novita.sim("GET", "/faults")
    assert (rule["id"], rule["done"], rule["kind"]) == (1, 2, "error")


async def test_an_outage_lasts_for_a_simulated_time(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "html", "for_seconds": 1800})
    assert (await novita.fetch("/clusters")).status_code == 502
    await novita.advance(1800)
    assert (await novita.fetch("/clusters")).status_code == 200


async def test_an_outage_may_be_partial(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "html", "route": "create"})
    assert (await novita.fetch("/gpu/instances")).status_code == 200
    assert (await novita.post("/gpu/instance/create", **ORDER)).status_code == 502


async def test_a_rule_may_strike_by_chance(novita: Novita) -> None:
    await novita.sim("POST", "/faults", {"kind": "error", "probability": 0.5})
    statuses = {(await novita.fetch("/clusters")).status_code for _ in range(40)}
    assert statuses == {200, 500}


async def test_rules_can_be_removed_one_by_one_or_all(novita: Novita) -> None:
    first, second = await novita.sim("POST", "/faults", [{"kind": "error"}, {"kind": "html"}])
    left = await novita.sim("DELETE", f"/faults/{first['id']}")
    assert [rule["id"] for rule in left] == [second["id"]]
    assert (await novita.http.delete(f"/_sim/faults/{first['id']}")).status_code == 404
    assert await novita.sim("DELETE", "/faults") == []
    assert (await novita.fetch("/clusters")).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "flood"},
        {"kind": "error", "route": "nowhere"},
        {"kind": "empty-list", "route": "get"},
        {"kind": "error", "status": 99},
        {"kind": "error", "times": "many"},
        {"probability": 1},
        [1],
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(novita: Novita, wrong: Any) -> None:
    answer = await novita.http.post("/_sim/faults", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_every_kind_of_fault_can_be_switched_on_for_every_route(novita: Novita) -> None:
    for kind in FAULT_KINDS:
        for route in ("list",) if kind in LIST_ONLY else ROUTE_NAMES:
            await novita.sim("DELETE", "/faults")
            await novita.sim("POST", "/faults", {"kind": kind, "route": route, "seconds": 0})
            if route == "list" and kind not in ("reset", "timeout", "cut"):
                assert (await novita.http.get(f"{GPU}/gpu/instances")).status_code < 600
