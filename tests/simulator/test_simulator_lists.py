"""Rows and pages: types on the wire, filters, page numbers, lags and lies."""

import re
import time

import pytest

from tests.simulator.simulator_driver import Novita


async def test_a_row_has_novitas_types(novita: Novita) -> None:
    machine_id = await novita.running(envs=[{"key": "RUN", "value": "in-clear"}], gpuNum=2)

    (row,) = await novita.rows()

    expected = {
        "id": machine_id,
        "name": "trainer",
        "clusterId": "cn-hongkong-1",
        "clusterName": "CN-HK-01 (Hong Kong)",
        "status": "running",
        "statusError": {"state": "", "message": ""},
        "cpuNum": "32",
        "memory": "124",
        "gpuNum": "2",
        "productName": "RTX 4090 24GB",
        "rootfsSize": 60,
        "volumeMounts": [],
        "envs": [{"key": "RUN", "value": "in-clear"}],
        "billingMode": "spot",
        "endTime": "-1",
        "spotStatus": "running",
        "spotReclaimTime": "0",
        "createdAt": "1785542400",
        "lastStartedAt": "1785542404",
        "lastStoppedAt": "0",
        "gpuIds": [0, 1],
        "instancePrice": "17500",
    }
    assert {key: row[key] for key in expected} == expected
    assert row["sshPassword"]
    http, tcp = row["portMappings"]
    assert http == {
        "port": 8000,
        "endpoint": f"https://{machine_id}-8000.cn-hongkong-1.gpu-instance.novita.ai",
        "type": "http",
    }
    assert re.fullmatch(r"proxy\.cn-hongkong-1\.gpu-instance\.novita\.ai:\d{5}", tcp["endpoint"])


async def test_get_has_everything_of_the_row_and_the_connections(novita: Novita) -> None:
    machine_id = await novita.running()
    (row,) = await novita.rows()

    found = await novita.get(machine_id)

    assert {key for key in row if not key.startswith("ext")} <= set(found)
    ssh = found["connectComponentSSH"]
    assert re.fullmatch(
        r"ssh -p \d{5} root@proxy\.cn-hongkong-1\.gpu-instance\.novita\.ai", ssh["sshCommand"]
    )
    assert ssh["password"] == found["sshPassword"]


async def test_endpoints_are_empty_until_the_machine_is_placed(novita: Novita) -> None:
    machine_id = await novita.create()
    assert (await novita.get(machine_id))["portMappings"] == []
    await novita.advance(4)
    assert len((await novita.get(machine_id))["portMappings"]) == 2


async def test_tools_are_exposed_like_ports(novita: Novita) -> None:
    tools = [{"name": "Jupyter", "port": "8888", "type": "http"}]
    machine_id = await novita.running(ports="", tools=tools)
    assert [item["port"] for item in (await novita.get(machine_id))["portMappings"]] == [8888]


async def test_undocumented_fields_can_be_left_out() -> None:
    novita = Novita(extra_fields=False, spot_in_get=False)
    machine_id = await novita.create()
    (row,) = await novita.rows()
    assert not {"creator", "instancePrice"} & set(row)
    assert row["spotStatus"] == "running"
    assert "spotStatus" not in await novita.get(machine_id)


async def test_time_stamps_may_be_ahead_of_the_clock() -> None:
    novita = Novita(clock_skew_seconds=90)
    machine_id = await novita.create()
    assert (await novita.get(machine_id))["createdAt"] == "1785542490"


async def test_filters_are_parts_of_names_in_any_case_and_one_exact_status(
    novita: Novita,
) -> None:
    await novita.create(name="Trainer-1")
    await novita.create(name="trainer-11", productId="4090D.16c62g")
    await novita.advance(15)
    await novita.create(name="other")

    assert {row["name"] for row in await novita.rows(name="TRAINER-1")} == {
        "Trainer-1",
        "trainer-11",
    }
    assert {row["name"] for row in await novita.rows(productName="4090d")} == {"trainer-11"}
    assert {row["name"] for row in await novita.rows(status="pending")} == {"other"}
    assert await novita.rows(status="run") == []


async def test_pages_zero_and_one_are_the_same_and_sizes_are_clamped(novita: Novita) -> None:
    await novita.sim("POST", "/machines", {"name": "m", "count": 250})

    page = (await novita.fetch("/gpu/instances", pageSize=1000, pageNum=0)).json()
    assert (len(page["instances"]), page["total"]) == (100, 250)
    first = await novita.rows(pageSize=100, pageNum=1)
    third = await novita.rows(pageSize=100, pageNum=3)
    assert [row["id"] for row in first] == [row["id"] for row in page["instances"]]
    assert len(third) == 50
    assert len(await novita.rows()) == 10
    assert len(await novita.rows(page=2, page_size=50)) == 10


@pytest.mark.parametrize(
    ("base", "first", "second", "default"),
    [
        ("zero", "m-3", "m-2", "m-3"),
        ("one", None, "m-3", "m-3"),
        ("zero-is-one", "m-3", "m-3", "m-3"),
    ],
)
async def test_the_page_base_is_a_setting(
    base: str, first: str | None, second: str, default: str
) -> None:
    novita = Novita(page_base=base)
    await novita.sim("POST", "/machines", {"name": "m", "count": 3})

    async def name(**query: int) -> str | None:
        rows = await novita.rows(pageSize=1, **query)
        return str(rows[0]["name"]) if rows else None

    assert [await name(pageNum=0), await name(pageNum=1), await name()] == [
        first,
        second,
        default,
    ]


async def test_a_page_number_that_is_none_is_refused(novita: Novita) -> None:
    answer = await novita.fetch("/gpu/instances", pageNum="one")
    assert (answer.status_code, answer.json()["reason"]) == (400, "VALIDATOR_PARAM")


@pytest.mark.parametrize(
    ("style", "body"),
    [
        ("list", {"instances": [], "total": "0"}),
        ("null", {"instances": None, "total": "0"}),
        ("absent", {"total": "0"}),
    ],
)
async def test_an_empty_list_is_written_as_chosen(style: str, body: dict[str, object]) -> None:
    novita = Novita(empty_lists=style, total_as="string")
    assert (await novita.fetch("/gpu/instances")).json() == body


async def test_a_new_machine_may_be_absent_from_list_and_get_for_a_while() -> None:
    novita = Novita(list_lag_seconds=10, get_lag_seconds=3)
    machine_id = await novita.create()
    seen = []
    for _ in range(3):
        seen.append((await novita.status(machine_id), len(await novita.rows())))
        await novita.advance(5)

    assert seen == [("404", 0), ("pulling", 0), ("pulling", 1)]


async def test_the_list_may_show_the_world_of_a_while_ago() -> None:
    novita = Novita(list_behind_seconds=10)
    machine_id = await novita.create()
    await novita.advance(16)

    (row,) = await novita.rows()

    assert (row["status"], await novita.status(machine_id)) == ("pulling", "running")


async def test_a_list_may_go_backwards_once(novita: Novita) -> None:
    machine_id = await novita.running()
    fresh = await novita.create(name="fresh")
    await novita.act(machine_id, "stale-once")
    await novita.act(fresh, "stale-once")

    rows = {row["name"]: row["status"] for row in await novita.rows()}
    again = {row["name"]: row["status"] for row in await novita.rows()}

    assert rows == {"trainer": "starting", "fresh": "pending"}
    assert again == {"trainer": "running", "fresh": "pending"}


async def test_a_status_that_nobody_knows_may_be_shown_without_being_true() -> None:
    novita = Novita(odd_status_probability=1.0, odd_status="rebalancing")
    machine_id = await novita.create()
    await novita.advance(15)

    assert await novita.status(machine_id) == "rebalancing"
    assert (await novita.verb("stop", machine_id)).status_code == 200


async def test_ten_thousand_machines_are_listed_page_by_page_in_little_time(
    novita: Novita,
) -> None:
    await novita.sim("POST", "/machines", {"name": "m", "count": 10_000})
    began = time.perf_counter()

    rows = [row for page in (1, 50, 100) for row in await novita.rows(pageSize=100, pageNum=page)]

    assert len({row["id"] for row in rows}) == 300
    assert time.perf_counter() - began < 2
