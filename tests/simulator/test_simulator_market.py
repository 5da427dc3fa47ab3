"""Products, clusters, templates, credentials, stock and prices."""

from typing import Any

import pytest

from tests.simulator.simulator_driver import Novita


async def products(novita: Novita, **query: Any) -> dict[str, dict[str, Any]]:
    """Return the product list by id."""
    data = (await novita.fetch("/products", **query)).json()["data"]
    return {item["id"]: item for item in data}


async def test_a_product_has_novitas_types(novita: Novita) -> None:
    found = await products(novita, clusterId="cn-hongkong-1", billingMethod="spot")

    assert found["4090.16c62g"] == {
        "id": "4090.16c62g",
        "name": "RTX 4090 24GB",
        "cpuPerGpu": 16,
        "memoryPerGpu": 62,
        "diskPerGpu": 60,
        "availableDeploy": True,
        "minRootFS": 10,
        "maxRootFS": 1024,
        "minLocalStorage": 0,
        "maxLocalStorage": 1024,
        "regions": ["CN-HK-01 (Hong Kong)"],
        "price": "35000",
        "spotPrice": "17500",
        "monthlyPrice": [{"price": "25200000", "month": 1}],
        "billingMethods": ["onDemand", "monthly", "spot"],
        "inventoryState": "high",
    }


async def test_the_cheapest_of_a_name_are_traps(novita: Novita) -> None:
    found = await products(
        novita, clusterId="cn-hongkong-1", billingMethod="spot", productName="rtx 4090"
    )

    assert found["4090D.16c62g"]["name"] == "RTX 4090D 24GB"
    assert found["4090.8c31g"]["inventoryState"] == "none"
    assert not found["4090.8c31g"]["availableDeploy"]
    assert not found["4090.16c62g.os"]["availableDeploy"]
    assert found["4090.16c48g"]["spotPrice"] == "0"
    assert found["4090.12c46g"]["maxRootFS"] == 30


async def test_products_are_filtered_by_what_is_asked(novita: Novita) -> None:
    assert "26" not in await products(novita, billingMethod="spot")
    assert "26" in await products(novita)
    assert set(await products(novita, clusterId="eu-de-1", minCpuPerGpu=16)) == {
        "4090.16c96g.v2",
        "3090.16c92g",
        "26",
    }
    assert set(await products(novita, minMemoryPerGpu=240)) == {
        "A100-80GB.14c240g",
        "H100-SXM.20c240g",
    }
    assert set(await products(novita, minRootFSSize=4000)) == {"H100-SXM.20c240g"}


async def test_without_a_cluster_a_product_names_all_its_regions(novita: Novita) -> None:
    found = await products(novita)
    assert found["A100-80GB.14c240g"]["regions"] == [
        "US-CA-06 (California)",
        "EU-DE-01 (Germany)",
    ]


async def test_stock_is_used_up_by_machines_and_comes_back_with_them(novita: Novita) -> None:
    order = {"productId": "3090.16c92g", "clusterId": "us-ca-6"}
    machine_id = await novita.running(**order, gpuNum=2)
    shown = (await products(novita, clusterId="us-ca-6"))["3090.16c92g"]
    assert (shown["availableDeploy"], shown["inventoryState"]) == (False, "none")
    assert await novita.refusal(**order) == (400, "INSUFFICIENT_RESOURCE")

    await novita.verb("delete", machine_id)
    await novita.advance(5)

    shown = (await products(novita, clusterId="us-ca-6"))["3090.16c92g"]
    assert (shown["availableDeploy"], shown["inventoryState"]) == (True, "low")
    assert await novita.create(**order, gpuNum=2)


async def test_available_depends_on_how_many_gpus_are_asked(novita: Novita) -> None:
    ask = {"clusterId": "us-ca-6", "productName": "3090"}
    assert (await products(novita, gpuNum=2, **ask))["3090.16c92g"]["availableDeploy"]
    assert not (await products(novita, gpuNum=4, **ask))["3090.16c92g"]["availableDeploy"]


@pytest.mark.parametrize(("shown", "says"), [("always", True), ("never", False)])
async def test_the_list_may_disagree_with_the_stock(shown: str, says: bool) -> None:
    novita = Novita(stock_shown=shown)
    found = await products(novita, clusterId="cn-hongkong-1")

    assert found["4090.8c31g"]["availableDeploy"] is says
    assert found["4090.16c62g"]["availableDeploy"] is says
    assert await novita.refusal(productId="4090.8c31g") == (400, "INSUFFICIENT_RESOURCE")
    assert await novita.create()


async def test_the_list_may_show_an_old_stock() -> None:
    novita = Novita(stock_lag_seconds=60)
    order = {"productId": "3090.16c92g", "clusterId": "us-ca-6", "gpuNum": 2}
    await novita.create(**order)

    assert (await products(novita, clusterId="us-ca-6"))["3090.16c92g"]["availableDeploy"]
    assert await novita.refusal(**order) == (400, "INSUFFICIENT_RESOURCE")
    await novita.advance(61)
    assert not (await products(novita, clusterId="us-ca-6"))["3090.16c92g"]["availableDeploy"]


async def test_stock_can_be_scripted_and_so_can_what_is_shown(novita: Novita) -> None:
    offer = {"product_id": "4090.16c62g", "cluster_id": "cn-hongkong-1"}
    stock = await novita.sim("PUT", "/stock", {**offer, "stock": 0, "shown": True})
    assert {**offer, "total": 0, "held": 0, "free": 0, "shown": True} in stock
    assert (await products(novita, clusterId="cn-hongkong-1"))["4090.16c62g"]["availableDeploy"]
    assert await novita.refusal() == (400, "INSUFFICIENT_RESOURCE")

    await novita.sim("PUT", "/stock", [{**offer, "shown": None}])
    found = await products(novita, clusterId="cn-hongkong-1")
    assert not found["4090.16c62g"]["availableDeploy"]
    await novita.sim("PUT", "/stock", {**offer, "stock": None})
    assert await novita.create()


async def test_stock_and_prices_may_move_by_themselves() -> None:
    novita = Novita(stock_wave_gpus=4, price_wave_percent=20, wave_seconds=60)
    prices: set[str] = set()
    stocks: set[int] = set()
    for _ in range(12):
        prices.add((await products(novita))["4090.16c62g"]["price"])
        stocks.update(
            item["free"]
            for item in await novita.sim("GET", "/stock")
            if item["product_id"] == "A100-80GB.14c240g"
        )
        await novita.advance(60)

    assert len(prices) > 3
    assert len(stocks) > 3
    assert all(28000 <= int(price) <= 42000 for price in prices)


async def test_the_price_of_a_machine_is_the_one_it_was_bought_at(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.sim("PATCH", "/products/4090.16c62g", {"spot_price": 99999})

    assert (await novita.bill(machine_id))["price"] == 17500
    assert (await products(novita, billingMethod="spot"))["4090.16c62g"]["spotPrice"] == "99999"


async def test_clusters_carry_labelled_names_and_what_they_sell(novita: Novita) -> None:
    data = (await novita.fetch("/clusters")).json()["data"]

    assert {item["id"]: item["name"] for item in data} == {
        "cn-hongkong-1": "CN-HK-01 (Hong Kong)",
        "us-ca-6": "US-CA-06 (California)",
        "as-sgp-2": "AS-SGP-02 (Singapore)",
        "eu-de-1": "EU-DE-01 (Germany)",
    }
    germany = next(item for item in data if item["id"] == "eu-de-1")
    assert germany["availableGpuType"] == [
        "A100 80GB",
        "L40S 48GB",
        "RTX 3090 24GB",
        "RTX 4090 24GB",
    ]


async def test_a_template_has_novitas_shape(novita: Novita) -> None:
    template = (await novita.fetch("/template", templateId="tpl-basic")).json()["template"]

    assert template["Id"] == "tpl-basic"
    assert template["ports"] == [
        {"type": "http", "ports": [8000]},
        {"type": "tcp", "ports": [22]},
    ]
    assert template["envs"] == [
        {"key": "MODE", "value": "serve"},
        {"key": "WORKERS", "value": "2"},
    ]
    private = (await novita.fetch("/template", templateId="tpl-private")).json()["template"]
    assert private["imageAuth"] == "auth-registry"


async def test_an_unknown_template_is_a_400(novita: Novita) -> None:
    answer = await novita.fetch("/template", templateId="tpl-none")
    assert (answer.status_code, answer.json()["reason"]) == (400, "TEMPLATE_NOT_FOUND")


async def test_templates_are_paged_from_one_and_null_when_there_are_none(
    novita: Novita,
) -> None:
    page = (await novita.fetch("/templates", pageSize=3, pageNum=2)).json()
    assert [item["Id"] for item in page["template"]] == ["tpl-tools"]
    assert (page["pageSize"], page["pageNum"], page["total"]) == (3, 2, 4)
    official = (await novita.fetch("/templates", channel="official")).json()
    assert [item["Id"] for item in official["template"]] == ["tpl-tools"]
    assert (await novita.fetch("/templates", name="nothing")).json()["template"] is None


async def test_credentials_come_back_in_clear_and_get_no_id_when_saved(novita: Novita) -> None:
    saved = await novita.post(
        "/repository/auth/save", name="mine", username="me", password="secret"
    )
    assert (saved.status_code, saved.content) == (204, b"")
    data = (await novita.fetch("/repository/auths")).json()["data"]
    mine = next(item for item in data if item["name"] == "mine")
    assert (mine["username"], mine["password"]) == ("me", "secret")

    assert (await novita.post("/repository/auth/delete", id=mine["id"])).json() == {}
    assert (await novita.post("/repository/auth/delete", id=mine["id"])).status_code == 404
    assert (await novita.post("/repository/auth/save", name="mine")).status_code == 400
