"""The page of one instance: its way, its connection, and what may be asked of it."""

from decimal import Decimal

import pytest

from gpukeeper.domain.instances import Status
from gpukeeper.service import OrderFailed
from tests.dashboard.conftest import Dashboard
from tests.instances import edit


async def test_the_way_shows_how_long_each_status_took(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    await dashboard.rig.advance(minutes=5)

    page = await dashboard.get(f"/instances/{running.id}")

    way = page.text.partition("The way so far")[2].partition("Connection")[0]
    assert "requested 0.0 s from 00:00:00" in way
    assert "starting 30 s" in way
    assert "running 6 min so far, since" in way
    assert page.all("time", title="1 Jan 2026, 00:00:00 UTC", datetime="2026-01-01T00:00:00Z")
    pieces = page.all("rect")
    assert [piece["class"] for piece in pieces] == ["coming", "coming", "coming", "good"]
    assert sum(float(piece["width"]) for piece in pieces) == pytest.approx(100, abs=2)


async def test_the_page_shows_how_to_reach_the_machine_and_why_it_was_bought(
    dashboard: Dashboard,
) -> None:
    running = await dashboard.rig.running(labels={"team": "research"})

    page = await dashboard.get(f"/instances/{running.id}")

    assert running.machine.endpoints[0].url in page.links
    assert running.machine.ssh_command in [button.get("data-copy") for button in page.all("button")]
    assert f"{running.purchase.attempts[0].product_id} CN-HK-01" in page.text
    assert "accepted" in page.text
    assert "team=research" in page.text
    assert "instance.running" in page.text
    assert "delivered instance.running 1 attempt" in page.text


async def test_an_instance_is_found_by_novitas_id_as_well(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()

    assert (
        "trainer running" in (await dashboard.get(f"/instances/{running.machine.novita_id}")).text
    )


@pytest.mark.parametrize(
    ("verb", "data", "status"),
    [
        ("stop", "Its disk stays", Status.STOPPING),
        ("restart", "Its disk stays", Status.STARTING),
        ("delete", "Everything on its disk is lost for good", Status.DELETING),
    ],
)
async def test_a_verb_is_confirmed_by_name_with_what_happens_to_the_data(
    dashboard: Dashboard, verb: str, data: str, status: Status
) -> None:
    running = await dashboard.rig.running()
    shown = await dashboard.get(f"/instances/{running.id}")
    path = f"/instances/{running.id}/{verb}"
    assert path in shown.links

    asked = await dashboard.get(path)
    assert f"{verb.capitalize()} trainer" in asked.text
    assert data in asked.text
    assert (await dashboard.rig.find(running.id)).status is Status.RUNNING

    assert path in asked.actions
    done = await dashboard.post(path)
    assert done.place == f"/instances/{running.id}"
    assert (await dashboard.rig.find(running.id)).status is status


async def test_a_stopped_instance_can_be_started_and_deleted_only(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    await dashboard.post(f"/instances/{running.id}/stop")
    await dashboard.rig.advance(minutes=2)

    page = await dashboard.get(f"/instances/{running.id}")
    verbs = [link.rpartition("/")[2] for link in page.links if link.startswith("/instances/")]
    assert verbs == ["start", "delete"]
    assert "Only a running machine can be reached." in page.text
    assert (
        "Its disk is as it was left."
        in (await dashboard.get(f"/instances/{running.id}/start")).text
    )


async def test_a_verb_that_the_status_does_not_allow_is_refused_on_a_page(
    dashboard: Dashboard,
) -> None:
    running = await dashboard.rig.running()

    asked = await dashboard.get(f"/instances/{running.id}/start")
    assert "In this status that is not possible." in asked.text
    assert asked.actions == [f"/instances/{running.id}/start"]
    assert asked.all("button") == []

    refused = await dashboard.post(f"/instances/{running.id}/start", status=409)
    assert "'trainer' is running" in refused.text


async def test_a_verb_that_does_not_exist_is_not_found(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()

    await dashboard.get(f"/instances/{running.id}/explode", status=404)
    await dashboard.post(f"/instances/{running.id}/explode", status=404)


async def test_an_order_without_a_machine_can_be_deleted_and_says_that_nothing_is_lost(
    dashboard: Dashboard,
) -> None:
    running = await dashboard.rig.running()
    await dashboard.change(running.id, lambda row: edit(row, status=Status.FAILED, novita_id=None))

    assert "It has no machine." in (await dashboard.get(f"/instances/{running.id}/delete")).text


async def test_a_failed_machine_that_exists_is_said_to_be_billed(dashboard: Dashboard) -> None:
    dashboard.rig.fate("pull-forever")
    ordered = await dashboard.rig.order()
    await dashboard.rig.advance(minutes=11)

    page = await dashboard.get(f"/instances/{ordered.id}")
    assert "Its machine exists, is still watched and still billed" in page.text
    assert "startup_timeout" in page.text
    assert "failed still billed" in (await dashboard.get("/")).text


async def test_a_machine_that_is_off_is_not_said_to_be_billed(dashboard: Dashboard) -> None:
    dashboard.rig.fate("boot-error", exited=True)
    ordered = await dashboard.rig.order()
    await dashboard.rig.advance(minutes=3)

    page = await dashboard.get(f"/instances/{ordered.id}")
    assert "Its machine exists, is still watched and costs nothing now" in page.text
    assert "Costs now GPU no, disk $0.00/day" in page.text
    assert "still billed" not in (await dashboard.get("/")).text
    assert "$0.000 per hour" in (await dashboard.get("/")).text


async def test_a_price_above_the_limit_is_marked(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running(max_price_per_hour=Decimal("0.18"))
    dashboard.rig.console(running, "reprice", price=95000)
    await dashboard.rig.advance(minutes=2)

    page = await dashboard.get(f"/instances/{running.id}")
    assert "Novita shows $0.950 per hour, and it was ordered for at most $0.180." in page.text
    fleet = (await dashboard.get("/")).text
    assert "above limit" in fleet
    assert "$0.950 per hour" in fleet


async def test_a_refused_order_says_that_nothing_was_bought(dashboard: Dashboard) -> None:
    dashboard.rig.fault("unauthorized", "*")
    with pytest.raises(OrderFailed) as refused:
        await dashboard.rig.order()

    page = await dashboard.get(f"/instances/{refused.value.instance.id}")

    assert "The order was refused. Nothing was bought, and it costs nothing." in page.text
    assert "No offer was tried." in page.text
    assert "Price none, spot" in page.text
    assert "Cost so far nothing" in page.text
    assert "\N{EM DASH} per hour" not in page.text


async def test_the_connection_of_a_machine_that_does_not_run_is_refused_on_a_page(
    dashboard: Dashboard,
) -> None:
    ordered = await dashboard.rig.order()

    page = await dashboard.get(f"/instances/{ordered.id}/connection", status=409)
    assert "only a running machine is reached" in page.text
