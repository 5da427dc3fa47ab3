"""The order form: offers in view, faults at their fields, and one machine however often sent."""

import asyncio
from decimal import Decimal

import pytest

from gpukeeper.domain.instances import Instance, OnFailure
from gpukeeper.domain.products import BillingMode, Port
from gpukeeper.store import instances, pagination
from tests.dashboard.conftest import Dashboard
from tests.dashboard.pages import Page

FORM = {
    "key": "a-key-of-this-test-1",
    "name": "trainer",
    "productName": "RTX 4090 24GB",
    "templateId": "tpl-basic",
    "gpuNum": "1",
    "rootfsSize": "60",
    "billingMode": "spot",
    "region": "CN-HK-01",
    "onFailure": "keep",
}


async def order(dashboard: Dashboard, *, status: int = 303, **fields: str) -> Page:
    """Send the form and let the engine work until there is an answer."""
    asked = asyncio.create_task(dashboard.post("/order", status=status, **FORM | fields))
    while not asked.done():
        await dashboard.rig.work()
        await asyncio.sleep(0)
    return await asked


async def rows(dashboard: Dashboard) -> list[Instance]:
    found, _, _ = await dashboard.rig.database.read(
        lambda c: pagination.list_page(c, name=None, before=None, limit=10)
    )
    return found


def fault(page: Page, field: str) -> str:
    """Return what stands under a field that has a fault."""
    assert page.all("span", id=f"fault-{field}"), page.text
    return page.html.partition(f'id="fault-{field}">')[2].partition("<")[0]


async def test_the_form_shows_products_side_by_side_with_prices_stock_and_regions(
    dashboard: Dashboard,
) -> None:
    page = await dashboard.get("/order")

    offered = [radio["value"] for radio in page.all("input", type="radio", name="productName")]
    assert offered[0] == "RTX 3090 24GB"
    assert "RTX 4090 24GB" in offered
    shown = page.text.partition("RTX 3090 24GB")[2]
    assert shown.startswith(" $0.105 per hour $2.52 a day high stock CN-HK-01 · also")
    widths = [float(bar["width"]) for bar in page.all("rect", class_="value")]
    assert widths == sorted(widths)
    assert widths[-1] == 100
    assert "A100 80GB: EU-DE-01 $" in page.text


async def test_templates_are_offered_by_name(dashboard: Dashboard) -> None:
    page = await dashboard.get("/order")

    assert "private image: registry.example.com/team/trainer:1.4" in page.text
    values = [option.get("value") for option in page.all("option")]
    assert values[:3] == ["", "tpl-basic", "tpl-broken"]


async def test_a_product_that_is_chosen_has_its_cost_per_hour_and_day(
    dashboard: Dashboard,
) -> None:
    page = await dashboard.get("/order?productName=RTX+3090+24GB&gpuNum=2")

    assert "About $0.210 per hour, $5.04 a day while it runs" in page.text
    (chosen,) = [radio for radio in page.all("input", type="radio") if "checked" in radio]
    assert chosen["value"] == "RTX 3090 24GB"


async def test_prices_are_shown_for_another_choice_without_ordering(dashboard: Dashboard) -> None:
    page = await dashboard.post(
        "/order", status=200, **FORM | {"intent": "prices", "region": "US-CA-06"}
    )

    assert "H100 SXM 80GB" in [radio["value"] for radio in page.all("input", type="radio")]
    assert page.value("name") == "trainer"
    assert await rows(dashboard) == []


async def test_an_order_leads_to_its_instance(dashboard: Dashboard) -> None:
    sent = await order(dashboard)

    (placed,) = await rows(dashboard)
    assert sent.place == f"/instances/{placed.id}"
    assert placed.machine.novita_id is not None


async def test_everything_in_the_form_becomes_part_of_the_order(dashboard: Dashboard) -> None:
    await order(
        dashboard,
        billingMode="onDemand",
        rootfsSize="80",
        regions="US-CA-06, EU-DE-01",
        maxPricePerHour="1.5",
        envs="A=1\r\n\r\nB=two = 2",
        ports="8000/http 22/tcp",
        command="serve",
        labels="team=x",
        startupTimeout="120",
        onFailure="delete",
        otherTemplateId="tpl-tools",
        webhookUrl="https://93.184.216.34/hook",
    )

    (placed,) = await rows(dashboard)
    asked = placed.order
    assert asked.billing_mode is BillingMode.ON_DEMAND
    assert asked.template_id == "tpl-tools"
    assert asked.rootfs_size_gb == 80
    assert asked.regions == ("US-CA-06", "EU-DE-01")
    assert asked.max_price_per_hour == Decimal("1.5")
    assert asked.ports == (Port(8000, "http"), Port(22, "tcp"))
    assert asked.command == "serve"
    assert asked.labels == {"team": "x"}
    assert asked.startup_timeout.total_seconds() == 120
    assert asked.on_failure is OnFailure.DELETE
    assert asked.webhook_url == "https://93.184.216.34/hook"
    seal, database = dashboard.rig.service.seal, dashboard.rig.database
    envs = await database.read(lambda c: instances.read_envs(c, placed.id, seal))
    assert envs == {"A": "1", "B": "two = 2"}


async def test_a_form_that_is_sent_twice_orders_once(dashboard: Dashboard) -> None:
    first = await order(dashboard)
    second = await order(dashboard)

    assert second.place == first.place
    assert len(await rows(dashboard)) == 1


async def test_the_key_of_a_form_that_was_sent_does_not_take_another_order(
    dashboard: Dashboard,
) -> None:
    await order(dashboard)
    refused = await order(dashboard, status=409, name="other")

    assert "Nothing was ordered." in refused.text
    assert refused.value("key") != FORM["key"]
    assert (await order(dashboard, key=refused.value("key"), name="other")).place
    assert len(await rows(dashboard)) == 2


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": "not a name"}, "name", "must be 1 to 48 letters, digits or hyphens"),
        ({"name": ""}, "name", "is required"),
        ({"gpuNum": "nine"}, "gpuNum", "must be a whole number between 1 and 8"),
        ({"templateId": ""}, "templateId", "is required"),
        ({"envs": "A"}, "envs", "must have a &#39;=&#39; in line 1"),
        ({"envs": "A=1\nA=2"}, "envs", "must not name A twice"),
        ({"envs": "1A=2"}, "envs", "1A must be named with"),
        ({"ports": "8000"}, "ports", "entry 1 must be a port of 1 to 65535"),
        ({"webhookUrl": "http://127.0.0.1/"}, "webhookUrl", ""),
    ],
)
async def test_a_fault_stands_at_its_field_and_what_was_typed_is_kept(
    dashboard: Dashboard, fields: dict[str, str], field: str, message: str
) -> None:
    page = await order(dashboard, status=400, labels="team=x", **fields)

    assert fault(page, field).startswith(message)
    assert f"#{field}" in page.links
    (marked,) = [
        *page.all("input", id=field),
        *page.all("select", id=field),
        *page.all("textarea", id=field),
    ]
    assert marked["aria-invalid"] == "true"
    assert f"fault-{field}" in marked["aria-describedby"]
    assert "team=x" in page.text
    assert await rows(dashboard) == []


async def test_values_of_the_environment_are_never_sent_back_and_are_asked_for_again(
    dashboard: Dashboard,
) -> None:
    secret = "TOKEN=canary-value\nEMPTY=\nPEM=-----BEGIN\nY2FuYXJ5LXZhbHVl+x==\nbare-canary-value"
    page = await order(dashboard, status=400, name="not a name", envs=secret)

    assert "canary" not in page.html
    assert "TOKEN=\nEMPTY=\nPEM=</textarea>" in page.html
    assert "type the values again" in page.text

    blanked = page.value("blanked")
    refused = await order(dashboard, status=400, envs="TOKEN=\nPEM=x", blanked=blanked)
    assert fault(refused, "envs") == "must have the value of TOKEN typed again"
    assert await rows(dashboard) == []
    assert (await order(dashboard, envs="TOKEN=again\nOTHER=", blanked=blanked)).place


async def test_several_faults_are_shown_at_once(dashboard: Dashboard) -> None:
    page = await order(dashboard, status=400, name="", gpuNum="0", envs="x")

    assert all(fault(page, field) for field in ("name", "gpuNum", "envs"))


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"productName": "RTX 9999"}, 400, "productName"),
        ({"otherTemplateId": "tpl-none"}, 400, "templateId"),
        ({"maxPricePerHour": "0.01"}, 409, "maxPricePerHour"),
    ],
)
async def test_what_cannot_be_bought_stands_at_its_field_and_leaves_nothing(
    dashboard: Dashboard, fields: dict[str, str], status: int, field: str
) -> None:
    page = await order(dashboard, status=status, **fields)

    assert fault(page, field)
    assert await rows(dashboard) == []


async def test_what_novita_refused_stands_there_with_a_link_to_the_attempts(
    dashboard: Dashboard,
) -> None:
    dashboard.rig.fate("no-balance")
    page = await order(dashboard, status=402)

    (failed,) = await rows(dashboard)
    assert f"/instances/{failed.id}" in page.links


async def test_without_novita_the_form_says_so_and_takes_names_by_hand(
    dashboard: Dashboard,
) -> None:
    dashboard.rig.fault("error", "products")

    page = await dashboard.get("/order")

    assert "What is for sale is not known:" in page.text
    assert page.all("input", name="productName", type="text")


async def test_without_a_list_of_templates_offers_are_shown_and_an_id_is_typed(
    dashboard: Dashboard,
) -> None:
    dashboard.rig.fault("error", "templates")

    page = await dashboard.get("/order")

    assert "RTX 4090 24GB" in page.text
    assert page.all("input", name="templateId", type="text")


async def test_a_form_without_a_key_is_an_order_of_its_own(dashboard: Dashboard) -> None:
    await order(dashboard, key="")
    await order(dashboard, key="")

    assert len(await rows(dashboard)) == 2


async def test_a_form_in_another_encoding_is_refused(dashboard: Dashboard) -> None:
    answer = await dashboard.http.post(
        "/order", files={"name": b"x"}, headers={"origin": "http://127.0.0.1"}
    )

    assert answer.status_code == 415


async def test_a_form_that_is_larger_than_any_order_is_refused(dashboard: Dashboard) -> None:
    page = await dashboard.post("/order", status=413, command="x" * 3_000_000)

    assert "larger than any order" in page.text


async def test_the_prices_shown_are_those_of_offers_whose_disk_is_large_enough(
    dashboard: Dashboard,
) -> None:
    # The cheapest of this name has a disk of less than 60 GB.
    ordinary = await dashboard.get("/order")
    small = await dashboard.get("/order?rootfsSize=10")

    assert "$0.175 per hour" in ordinary.text.partition("RTX 4090 24GB")[2]
    assert "$0.160 per hour" in small.text.partition("RTX 4090 24GB")[2]
    assert "$0.160 per hour" not in ordinary.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({f"more{n}": "1" for n in range(5000)}, "has more than 100 fields"),
        ({"labels": "a=b\n" * 5000}, "must have at most 1000 lines"),
        ({"regions": "A " * 50_000}, "must be a list of at most 20 regions"),
        ({"envs": "\n".join(f"A{n}=1" for n in range(900))}, "must be an object of at most 100"),
    ],
)
async def test_a_form_with_far_too_many_entries_is_refused_before_they_are_read(
    dashboard: Dashboard, fields: dict[str, str], said: str
) -> None:
    page = await dashboard.post("/order", status=400, **FORM | fields)
    # At its field, and in the list of all faults.
    assert 1 <= page.html.count(said) <= 2
    assert await rows(dashboard) == []


async def test_the_sum_has_the_disk_in_it(dashboard: Dashboard) -> None:
    large = await dashboard.get("/order?rootfsSize=1000&gpuNum=8&productName=RTX+4090+24GB")

    # 940 GB at $0.005 a day are $4.70 more than the GPUs' $33.60.
    assert "About $1.596 per hour, $38.30 a day while it runs" in large.text
    assert "$1.400 per hour $38.30 a day with its disk" in large.text
