"""The catalog asks once at a time, forgets in time, and never keeps a failure."""

from datetime import timedelta

import anyio
import httpx2
import pytest
from anyio.lowlevel import checkpoint

from gpukeeper.domain.errors import InvalidOrder, NovitaUnavailable
from gpukeeper.domain.products import BillingMode, Product
from gpukeeper.novita.catalog import Catalog
from tests.novita.bodies import CLUSTERS, error, product, template
from tests.novita.scripted import FakeTime, ScriptedNovita, client_of, reply

PRODUCTS = reply(200, {"data": [product()]})
REGIONS = reply(200, CLUSTERS)
DOWN = reply(503, "")


class Gate:
    """A Novita whose answers wait until the gate opens."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.novita = ScriptedNovita(answer)
        self.asked = anyio.Event()
        self.opened = anyio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.set()
        await self.opened.wait()
        return self.novita(request)

    @property
    def calls(self) -> int:
        return len(self.novita.requests)


def catalog_of(*replies: httpx2.Response) -> tuple[Catalog, ScriptedNovita, FakeTime]:
    time = FakeTime()
    novita = ScriptedNovita(*replies)
    return Catalog(client_of(novita, time, retries=0), clock=time), novita, time


async def spot_products(catalog: Catalog) -> tuple[Product, ...]:
    return await catalog.products(cluster_id="us-ca-6", billing_mode=BillingMode.SPOT, gpu_num=1)


async def settle() -> None:
    """Let every task go on as far as it can, and those who wait for its end hear of it."""
    await anyio.wait_all_tasks_blocked()
    await checkpoint()


async def test_products_are_asked_for_once_in_thirty_seconds() -> None:
    catalog, novita, time = catalog_of(PRODUCTS)
    assert await spot_products(catalog) == await spot_products(catalog)
    time.now += timedelta(seconds=29)
    await spot_products(catalog)
    assert len(novita.requests) == 1
    time.now += timedelta(seconds=1)
    await spot_products(catalog)
    assert len(novita.requests) == 2


async def test_other_questions_are_asked_for_themselves() -> None:
    catalog, novita, _ = catalog_of(PRODUCTS)
    await spot_products(catalog)
    await catalog.products(cluster_id=None, billing_mode=BillingMode.SPOT, gpu_num=1)
    await catalog.products(cluster_id="us-ca-6", billing_mode=BillingMode.ON_DEMAND, gpu_num=1)
    await catalog.products(cluster_id="us-ca-6", billing_mode=BillingMode.SPOT, gpu_num=2)
    assert len(novita.requests) == 4


async def test_a_refusal_to_sell_makes_products_be_asked_for_anew() -> None:
    catalog, novita, _ = catalog_of(PRODUCTS)
    await spot_products(catalog)
    catalog.forget_products()
    await spot_products(catalog)
    assert len(novita.requests) == 2


async def test_products_asked_for_before_the_refusal_are_not_kept() -> None:
    gate = Gate(PRODUCTS)
    catalog = Catalog(client_of(gate), clock=FakeTime())
    async with anyio.create_task_group() as group:
        group.start_soon(spot_products, catalog)
        await gate.asked.wait()
        catalog.forget_products()
        gate.opened.set()
    await spot_products(catalog)
    assert gate.calls == 2


async def test_concurrent_questions_share_one_call() -> None:
    gate = Gate(PRODUCTS)
    catalog = Catalog(client_of(gate), clock=FakeTime())
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(spot_products, catalog)
        await gate.asked.wait()
        await settle()
        gate.opened.set()
    assert gate.calls == 1


async def test_one_who_gives_up_does_not_cancel_the_call_of_the_others() -> None:
    gate = Gate(PRODUCTS)
    catalog = Catalog(client_of(gate), clock=FakeTime())
    found: list[Product] = []

    async def patient() -> None:
        found.extend(await spot_products(catalog))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as impatient:
            group.start_soon(patient)
            await gate.asked.wait()
            impatient.cancel()
            await spot_products(catalog)
        await settle()
        gate.opened.set()
    assert [item.id for item in found] == ["4090.16c62g"]
    assert gate.calls == 1


async def test_when_everybody_gives_up_the_answer_is_still_kept() -> None:
    gate = Gate(PRODUCTS)
    catalog = Catalog(client_of(gate), clock=FakeTime())
    async with anyio.create_task_group() as group:
        group.start_soon(spot_products, catalog)
        await gate.asked.wait()
        group.cancel_scope.cancel()
    gate.opened.set()
    await settle()
    assert await spot_products(catalog)
    assert gate.calls == 1


async def test_a_failure_reaches_everybody_and_is_not_kept() -> None:
    catalog, novita, _ = catalog_of(DOWN, PRODUCTS)
    with pytest.raises(NovitaUnavailable):
        await spot_products(catalog)
    assert await spot_products(catalog)
    assert len(novita.requests) == 2


async def test_old_regions_are_served_while_new_ones_are_fetched() -> None:
    fewer = {"data": CLUSTERS["data"][:1]}
    catalog, novita, time = catalog_of(REGIONS, reply(200, fewer))
    assert len(await catalog.clusters()) == 3
    time.now += timedelta(hours=1)
    assert len(await catalog.clusters()) == 3
    await settle()
    assert len(await catalog.clusters()) == 1
    assert len(novita.requests) == 2


@pytest.mark.parametrize("failure", [DOWN, reply(200, {"data": []}), reply(200, "{}")])
async def test_old_regions_are_served_as_long_as_refreshing_fails(
    failure: httpx2.Response,
) -> None:
    catalog, novita, time = catalog_of(REGIONS, failure, failure, REGIONS)
    await catalog.clusters()
    for _ in range(2):
        time.now += timedelta(hours=1)
        assert len(await catalog.clusters()) == 3
        await settle()
    assert len(novita.requests) == 3


async def test_a_first_list_without_any_region_is_a_fault_and_not_kept() -> None:
    catalog, _, _ = catalog_of(reply(200, {"data": []}), REGIONS)
    with pytest.raises(NovitaUnavailable):
        await catalog.clusters()
    assert len(await catalog.clusters()) == 3


@pytest.mark.parametrize(
    ("region", "cluster_id"),
    [
        ("us-ca-6", "us-ca-6"),
        ("US-CA-06", "us-ca-6"),
        ("us-ca-06 (california)", "us-ca-6"),
        (" cn-hk-01 ", "cn-hongkong-1"),
        ("CN-HongKong-1", "cn-hongkong-1"),
    ],
)
async def test_a_region_is_found_by_id_name_or_label_in_any_case(
    region: str, cluster_id: str
) -> None:
    catalog, _, _ = catalog_of(REGIONS)
    assert (await catalog.cluster(region)).id == cluster_id


async def test_an_unknown_region_is_refused_with_all_that_there_are() -> None:
    catalog, _, _ = catalog_of(REGIONS)
    with pytest.raises(InvalidOrder, match=r"Its regions are .*CN-HK-01.*\.$") as caught:
        await catalog.cluster("MARS-01")
    assert caught.value.error_code == "region_not_found"
    assert [fault.field for fault in caught.value.faults] == ["region"]


async def test_a_template_is_kept_for_thirty_seconds() -> None:
    catalog, novita, time = catalog_of(reply(200, template()))
    assert (await catalog.template("tpl-basic")).name == "Basic"
    await catalog.template("tpl-basic")
    # And the credentials of its registry, so that they are hidden wherever Novita echoes them.
    asked = ["template", "auths"]
    assert [request.url.path.split("/")[-1] for request in novita.requests] == asked
    time.now += timedelta(seconds=30)
    await catalog.template("tpl-basic")
    assert [request.url.path.split("/")[-1] for request in novita.requests[:2]] == asked
    assert novita.requests[2].url.path.endswith("/template")


async def test_an_unknown_template_is_refused_and_asked_for_again() -> None:
    gone = reply(400, error(400, "", "template not found"))
    catalog, _, _ = catalog_of(gone, DOWN, reply(200, template()))
    with pytest.raises(InvalidOrder, match=r"'tpl-basic'\.$") as caught:
        await catalog.template("tpl-basic")
    assert caught.value.error_code == "template_not_found"
    assert [fault.field for fault in caught.value.faults] == ["templateId"]
    assert (await catalog.template("tpl-basic")).id == "tpl-basic"


async def test_what_has_expired_does_not_pile_up() -> None:
    bodies = [template() for _ in range(100)]
    for number, body in enumerate(bodies):
        body["template"] |= {"Id": f"tpl-{number}", "imageAuth": ""}
    catalog, _, time = catalog_of(*(reply(200, body) for body in bodies))
    for number in range(100):
        await catalog.template(f"tpl-{number}")
        time.now += timedelta(seconds=10)
    assert len(catalog._templates._kept) <= 4


async def test_templates_are_the_accounts_own_by_name_and_then_novitas() -> None:
    def listed(*names: str) -> httpx2.Response:
        rows = [{"Id": f"tpl-{name}", "name": name, "image": "acme/x"} for name in names]
        return reply(200, {"template": rows, "total": len(rows)})

    catalog, novita, _ = catalog_of(listed("zeta", "Alpha"), listed("official", "zeta"))

    found = await catalog.templates()

    assert [each.name for each in found] == ["Alpha", "zeta", "official"]
    assert [request.url.params["channel"] for request in novita.requests] == ["private", "official"]
    assert await catalog.templates() == found
    assert len(novita.requests) == 2


async def test_templates_are_read_page_by_page_and_no_further_than_can_be_chosen_from() -> None:
    page = [{"Id": f"tpl-{number}", "name": "x", "image": "acme/x"} for number in range(100)]
    catalog, novita, _ = catalog_of(reply(200, {"template": page, "total": 100_000}))

    assert len(await catalog.templates()) == 100
    pages = [request.url.params["pageNum"] for request in novita.requests]
    assert pages == ["1", "2", "3", "4", "5"] * 2
