"""What a create call is refused for, and what it is forgiven."""

from typing import Any

import pytest

from tests.simulator.simulator_driver import ORDER, Novita


@pytest.mark.parametrize(
    "wrong",
    [
        {"productId": ""},
        {"productId": "no-such-product"},
        {"gpuNum": 0},
        {"gpuNum": 9},
        {"gpuNum": True},
        {"gpuNum": None},
        {"rootfsSize": 2000},
        {"rootfsSize": "much"},
        {"imageUrl": "x" * 501},
        {"imageUrl": 7},
        {"name": "x" * 256},
        {"clusterId": "moon-1"},
        {"ports": "8000"},
        {"ports": "8000/udp"},
        {"ports": "0/tcp"},
        {"ports": "65536/tcp"},
        {"ports": "2222/tcp"},
        {"ports": "80/http,80/tcp"},
        {"ports": ",".join(f"{port}/tcp" for port in range(8000, 8016))},
        {"tools": "Jupyter"},
        {"envs": {"A": "1"}},
        {"envs": ["A=1"]},
        {"envs": [{"key": "A", "value": "1"}] * 101},
        {"envs": [{"key": "A", "value": "x" * 4096}]},
        {"command": "x" * 2048},
        {"billingMode": "cheap"},
        {"kind": "tpu"},
        {"minCudaVersion": "twelve"},
    ],
)
async def test_a_value_outside_the_documented_limits_is_refused(
    novita: Novita, wrong: dict[str, Any]
) -> None:
    assert await novita.refusal(**wrong) == (400, "VALIDATOR_PARAM")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"networkStorages": [{"Id": "s"}]}, "NETWORK_STORAGE_NOT_FOUND"),
        ({"networkId": "vpc"}, "NETWORK_NOT_FOUND"),
        ({"productId": "26", "clusterId": "eu-de-1"}, "UNSUPPORTED_BILLING_MODE"),
        ({"productId": "4090.16c48g"}, "UNSUPPORTED_BILLING_MODE"),
        ({"minCudaVersion": "13.0"}, "CUDA_VERSION_INCOMPATIBLE"),
        ({"productId": "4090.8c31g"}, "INSUFFICIENT_RESOURCE"),
        ({"productId": "4090.16c62g.os"}, "INSUFFICIENT_RESOURCE"),
        ({"clusterId": "eu-de-1"}, "INSUFFICIENT_RESOURCE"),
    ],
)
async def test_what_cannot_be_had_is_refused_with_its_reason(
    novita: Novita, wrong: dict[str, Any], reason: str
) -> None:
    assert await novita.refusal(**wrong) == (400, reason)


async def test_a_body_that_is_no_json_object_is_refused(novita: Novita) -> None:
    for body in (b"{", b"[]"):
        answer = await novita.http.post(
            "/gpu-instance/openapi/v1/gpu/instance/create", content=body
        )
        assert (answer.status_code, answer.json()["reason"]) == (400, "REQUEST")


async def test_unknown_fields_are_ignored(novita: Novita) -> None:
    machine_id = await novita.create(region="US", env=[{"key": "A", "value": "1"}])

    assert (await novita.get(machine_id))["envs"] == []


async def test_a_disk_that_is_too_small_is_silently_made_ten_gigabytes(novita: Novita) -> None:
    machine_id = await novita.create(rootfsSize=3)

    assert (await novita.get(machine_id))["rootfsSize"] == 10


async def test_a_month_makes_it_monthly_whatever_the_billing_mode_says(novita: Novita) -> None:
    machine_id = await novita.create(billingMode="spot", month="2")

    assert (await novita.get(machine_id))["billingMode"] == "monthly"


async def test_without_a_cluster_any_cluster_with_stock_takes_it(novita: Novita) -> None:
    ids = [await novita.create(clusterId="") for _ in range(12)]

    clusters = {(await novita.get(item))["clusterId"] for item in ids}

    assert len(clusters) > 1
    assert clusters <= {"cn-hongkong-1", "us-ca-6", "as-sgp-2"}


async def test_two_creates_with_one_name_are_two_machines_and_two_bills(novita: Novita) -> None:
    first, second = await novita.create(), await novita.create()
    await novita.advance(3600)

    ledger = await novita.sim("GET", "/ledger")

    assert sorted(ledger["billed_now"]) == sorted([first, second])


@pytest.mark.parametrize("key", [None, "", "Bearer ", "Basic abc"])
async def test_a_missing_key_is_unauthorized(novita: Novita, key: str | None) -> None:
    if key is None:
        del novita.http.headers["authorization"]
    else:
        novita.http.headers["authorization"] = key

    answer = await novita.fetch("/gpu/instances")

    assert (answer.status_code, answer.json()["reason"]) == (401, "UNAUTHORIZED")


async def test_only_listed_keys_are_accepted_when_there_is_a_list() -> None:
    novita = Novita(api_keys=("right",))
    assert (await novita.fetch("/gpu/instances")).status_code == 401
    novita.http.headers["authorization"] = "Bearer right"
    assert (await novita.fetch("/gpu/instances")).status_code == 200


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ({"kind": "out-of-stock"}, (400, "INSUFFICIENT_RESOURCE")),
        ({"kind": "no-balance"}, (400, "BALANCE_NOT_ENOUGH")),
        ({"kind": "quota"}, (400, "CREATE_GPU_NUM_LIMIT")),
        ({"kind": "refuse", "http_status": 400, "reason": "NODE_STATUS"}, (400, "NODE_STATUS")),
    ],
)
async def test_the_next_create_can_be_refused_by_script(
    novita: Novita, fate: dict[str, Any], expected: tuple[int, str]
) -> None:
    await novita.sim("POST", "/next", {**fate, "times": 2})

    assert await novita.refusal() == expected
    assert await novita.refusal() == expected
    assert await novita.create()


async def test_an_invalid_order_does_not_use_up_a_scripted_fate(novita: Novita) -> None:
    await novita.sim("POST", "/next", {"kind": "out-of-stock"})
    await novita.refusal(gpuNum=99)
    assert await novita.refusal() == (400, "INSUFFICIENT_RESOURCE")


async def test_the_next_machines_meet_their_scripted_fates(novita: Novita) -> None:
    await novita.sim(
        "POST",
        "/next",
        [
            {"kind": "boot-error", "state": "S", "message": "M", "exited": True},
            {"kind": "pull-forever"},
            {"kind": "vanish", "after_seconds": 8},
            {"kind": "exit", "after_seconds": 30},
            {"kind": "reclaim", "after_seconds": 30},
        ],
    )
    ids = [await novita.create() for _ in range(5)]
    seen = []
    for seconds in (7, 8, 30, 3600, 30):
        await novita.advance(seconds)
        seen.append([await novita.status(item) for item in ids])

    assert seen == [
        ["pulling", "pulling", "pulling", "pulling", "pulling"],
        ["exited", "pulling", "404", "running", "running"],
        ["exited", "pulling", "404", "exited", "running"],
        ["exited", "pulling", "404", "exited", "running"],
        ["exited", "pulling", "404", "exited", "exited"],
    ]
    assert (await novita.get(ids[0]))["statusError"] == {"state": "S", "message": "M"}
    assert (await novita.get(ids[4]))["spotStatus"] == "terminated"


async def test_waiting_fates_can_be_read_and_forgotten(novita: Novita) -> None:
    await novita.sim("POST", "/next", [{"kind": "quota"}, {"kind": "vanish", "times": 0}])
    assert [item["kind"] for item in await novita.sim("GET", "/next")] == ["quota"]
    assert await novita.sim("DELETE", "/next") == []
    assert await novita.create()


async def test_limits_are_those_of_a_real_order(novita: Novita) -> None:
    machine_id = await novita.create(
        name="x" * 255,
        gpuNum="8",
        rootfsSize=1024,
        command="x" * 2047,
        entrypoint="run",
        minCudaVersion="12.8",
        ports=" 80/http , 22/tcp",
        tools=[{"name": "Jupyter", "port": "8888", "type": "http"}],
        envs=[{"key": "A", "value": "x" * 4095}],
    )

    found = await novita.get(machine_id)

    assert (found["gpuNum"], found["cpuNum"], found["memory"]) == ("8", "128", "496")
    assert found["envs"] == [{"key": "A", "value": "x" * 4095}]
    assert ORDER["clusterId"] == found["clusterId"]
