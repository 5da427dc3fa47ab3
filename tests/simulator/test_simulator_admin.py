"""The admin API, the settings and the clock."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gpukeeper.simulator.json_codec import BadInput, apply_changes, decode, encode
from gpukeeper.simulator.simulated_clock import SimulatedClock, utc_now
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import PHASE_SECONDS, Settings
from tests.simulator.simulator_driver import GPU, START, Novita

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


async def test_the_summary_names_everything_that_can_be_scripted(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.create()
    await novita.act(machine_id, "vanish")

    summary = await novita.sim("GET")

    assert summary["machines"] == {"gone": 1, "pending": 1}
    assert summary["clock"] == {"now": START, "mode": "manual", "speed": 1.0}
    assert summary["requests"] == {"create": 2}
    assert {"method": "POST", "path": "/_sim/reset"}.items() <= summary["admin"][1].items()
    assert {"actions", "faults", "fates", "routes", "settings"} <= set(summary)


async def test_a_reset_begins_anew_and_may_change_settings(novita: Novita) -> None:
    await novita.create()
    await novita.sim("POST", "/faults", {"kind": "error"})

    summary = await novita.sim("POST", "/reset", {"seed": 9, "balance_usd": 5})

    assert (summary["machines"], summary["balance_usd"]) == ({}, "5.0")
    assert await novita.rows() == []
    assert (await novita.sim("GET", "/settings"))["seed"] == 9


async def test_one_seed_is_one_history() -> None:
    async def history(seed: int) -> list[str]:
        novita = Novita(seed=seed)
        return [await novita.create() for _ in range(3)]

    assert await history(1) == await history(1)
    assert await history(1) != await history(2)


async def test_settings_can_be_changed_while_it_runs(novita: Novita) -> None:
    changed = await novita.sim(
        "PATCH", "/settings", {"phase_seconds": {"pulling": [1, 2]}, "quota_gpus": 4}
    )
    assert changed["phase_seconds"]["pulling"] == [1.0, 2.0]
    assert changed["phase_seconds"]["creating"] == [2, 2]
    assert changed["quota_gpus"] == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"seed": "one"},
        {"seed": True},
        {"extra_fields": 1},
        {"page_base": "two"},
        {"page_size_max": 0},
        {"phase_seconds": {"dreaming": [1, 2]}},
        {"phase_seconds": {"pulling": [2, 1]}},
        {"phase_seconds": {"pulling": [2]}},
        {"phase_seconds": {"pulling": 2}},
        {"phase_seconds": [1, 2]},
        {"api_keys": "key"},
        {"clock_start": "tomorrow"},
        {"clock_start": "2026-08-01T00:00:00"},
        {"clock_speed": 0},
        {"wave_seconds": 0},
        [],
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused(novita: Novita, wrong: Any) -> None:
    answer = await novita.http.patch("/_sim/settings", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_a_body_that_is_no_json_is_refused(novita: Novita) -> None:
    assert (await novita.http.post("/_sim/clock", content=b"{")).status_code == 400


def test_settings_survive_json() -> None:
    settings = Settings(seed=4, api_keys=("a", "b"), quota_gpus=8)
    assert decode(Settings, encode(settings)) == settings
    changed = apply_changes(Settings(), {"phase_seconds": {"pulling": [1, 1]}})
    assert changed.phase_seconds == {
        **PHASE_SECONDS,
        "pulling": (1.0, 1.0),
    }
    with pytest.raises(BadInput):
        decode(Settings, {"seed": None, "colour": "red"})


def test_the_fast_settings_boot_in_seconds_and_can_be_changed() -> None:
    fast = Settings.fast(seed=3)
    boot = ("pending", "toCreate", "creating", "pulling", "starting")
    assert fast.seed == 3
    assert sum(fast.phase_seconds[phase][1] for phase in boot) < 6


async def test_the_clock_is_moved_set_held_and_let_go(novita: Novita) -> None:
    moved = await novita.sim("POST", "/clock", {"advance_seconds": 90})
    assert moved["now"] == "2026-08-01T00:01:30+00:00"
    later = await novita.sim("POST", "/clock", {"set": "2026-08-02T00:00:00Z"})
    assert later["now"] == "2026-08-02T00:00:00+00:00"
    running = await novita.sim("POST", "/clock", {"mode": "real", "speed": 60})
    assert (running["mode"], running["speed"]) == ("real", 60.0)
    held = await novita.sim("POST", "/clock", {"mode": "manual"})
    assert held["mode"] == "manual"
    assert (await novita.sim("GET", "/clock"))["now"] == held["now"]
    assert (await novita.sim("POST", "/clock", {"speed": 2}))["mode"] == "real"


@pytest.mark.parametrize(
    "wrong",
    [
        {"advance_seconds": -1},
        {"set": "2020-01-01T00:00:00Z"},
        {"set": "2027-01-01T00:00:00"},
        {"set": "tomorrow"},
        {"mode": "stopped"},
        {"speed": 0},
        {"advance_seconds": 1e20},
    ],
)
async def test_a_clock_cannot_be_moved_to_where_it_cannot_go(
    novita: Novita, wrong: dict[str, Any]
) -> None:
    assert (await novita.http.post("/_sim/clock", json=wrong)).status_code == 400


def test_a_clock_follows_its_wall_at_its_speed() -> None:
    wall = [NOON]
    clock = SimulatedClock(lambda: wall[0], speed=10)
    wall[0] += timedelta(seconds=3)
    assert clock.now() == NOON + timedelta(seconds=30)
    clock.follow(speed=1)
    wall[0] += timedelta(seconds=3)
    assert clock.now() == NOON + timedelta(seconds=33)
    clock.hold()
    wall[0] += timedelta(seconds=3)
    assert clock.now() == NOON + timedelta(seconds=33)


def test_without_a_start_the_world_begins_now() -> None:
    assert abs(World().now() - utc_now()) < timedelta(minutes=1)


async def test_a_machine_shows_its_past_its_future_and_its_bill(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.advance(5)

    found = await novita.sim("GET", f"/machines/{machine_id}")

    assert [item["status"] for item in found["past"]] == [
        "pending",
        "toCreate",
        "creating",
        "pulling",
    ]
    assert [item["status"] for item in found["future"]][:2] == ["starting", "running"]
    assert (found["status"], found["bill"]["billed_seconds"]) == ("pulling", 1.0)
    assert found["order"]["product_id"] == "4090.16c62g"


async def test_machines_are_found_by_a_part_of_their_name(novita: Novita) -> None:
    await novita.create(name="one")
    await novita.create(name="two")
    found = await novita.sim("GET", "/machines?name=tw")
    assert [item["name"] for item in found] == ["two"]


async def test_what_is_not_there_cannot_be_acted_on(novita: Novita) -> None:
    machine_id = await novita.create()
    assert (await novita.http.get("/_sim/machines/none")).status_code == 404
    assert (await novita.http.post("/_sim/machines/none/stop")).status_code == 404
    assert (await novita.http.post(f"/_sim/machines/{machine_id}/dance")).status_code == 400
    assert (await novita.http.post(f"/_sim/machines/{machine_id}/set")).status_code == 400
    await novita.act(machine_id, "vanish")
    assert (await novita.http.post(f"/_sim/machines/{machine_id}/stop")).status_code == 400
    assert (await novita.http.get("/_sim/nothing")).json() == {"errors": ["Not Found"]}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/machines", {"product_id": "none"}),
        ("PUT", "/stock", {"product_id": "none", "cluster_id": "us-ca-6"}),
        ("PUT", "/stock", {"cluster_id": "us-ca-6"}),
        ("PUT", "/balance", {}),
        ("PUT", "/products", [{"id": "x"}]),
        ("PATCH", "/templates/x", {"ports": [{"type": "http"}]}),
        ("PATCH", "/templates/x", []),
        ("PATCH", "/templates/x", {"name": "x", "image": "y", "envs": "A"}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    novita: Novita, method: str, path: str, body: Any
) -> None:
    answer = await novita.http.request(method, f"/_sim{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_the_catalogue_can_be_replaced_changed_and_reduced(novita: Novita) -> None:
    product = {"id": "p", "name": "GPU", "price": 1, "spot_price": 1, "stock": {"us-ca-6": 1}}
    await novita.sim("PUT", "/products", [product])
    assert [item["id"] for item in await novita.sim("GET", "/products")] == ["p"]
    changed = await novita.sim("PATCH", "/products/p", {"stock": {"eu-de-1": None}})
    assert changed["stock"] == {"us-ca-6": 1, "eu-de-1": None}

    template = {
        "name": "mine",
        "image": "acme/mine:1",
        "ports": [{"type": "http", "ports": [80]}],
        "envs": [{"key": "A", "value": "1"}],
    }
    await novita.sim("PATCH", "/templates/tpl-mine", template)
    found = (await novita.fetch("/template", templateId="tpl-mine")).json()["template"]
    assert (found["image"], found["envs"]) == ("acme/mine:1", [{"key": "A", "value": "1"}])

    left = await novita.sim("DELETE", "/auths/auth-unused")
    assert [item["id"] for item in left] == ["auth-registry"]
    assert (await novita.http.delete("/_sim/auths/auth-unused")).status_code == 404


async def test_every_request_is_logged_and_counted(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.fetch("/gpu/instances", pageSize=50, name="x")
    await novita.verb("start", machine_id)
    await novita.http.get("/no/such/path")

    log = await novita.sim("GET", "/requests")

    assert log["counts"] == {"create": 1, "list": 1, "start": 1, "unknown": 1}
    seen = [(item["route"], item["status"], item["machine"]) for item in log["requests"]]
    assert seen == [
        ("create", 200, machine_id),
        ("list", 200, None),
        ("start", 400, machine_id),
        ("unknown", 404, None),
    ]
    (listed,) = (await novita.sim("GET", "/requests?route=list"))["requests"]
    assert listed["query"] == {"pageSize": "50", "name": "x"}
    assert await novita.sim("DELETE", "/requests") == {"counts": {}, "requests": []}
    assert (await novita.sim("GET", "/requests"))["counts"] == {}


@pytest.mark.parametrize(
    ("style", "content_type"),
    [("json", "application/json"), ("text", "text/plain"), ("html", "text/html")],
)
async def test_an_unknown_path_is_a_404_in_the_style_chosen(style: str, content_type: str) -> None:
    novita = Novita(unknown_path=style)
    answer = await novita.http.get(f"{GPU}/gpu/instance/list")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith(content_type)


async def test_a_verb_without_an_id_is_refused(novita: Novita) -> None:
    answer = await novita.post("/gpu/instance/stop")
    assert (answer.status_code, answer.json()["reason"]) == (400, "VALIDATOR_PARAM")
