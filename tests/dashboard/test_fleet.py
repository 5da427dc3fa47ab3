"""The fleet: every instance, what it costs, what it has cost, and which of them are shown."""

from dataclasses import replace

import pytest

from gpukeeper.domain.events import EventType
from gpukeeper.domain.instances import Reason, Status
from gpukeeper.service import OrderFailed
from tests.dashboard.conftest import Dashboard


async def test_an_empty_fleet_says_what_to_do(dashboard: Dashboard) -> None:
    page = await dashboard.get("/")

    assert "No instance yet." in page.text
    assert "/order" in page.links


async def test_the_fleet_shows_status_product_region_price_and_cost(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running(gpu_num=2)
    await dashboard.rig.advance(hours=2)

    page = await dashboard.get("/")

    row = page.text.partition("So far trainer")[2]
    assert row.startswith(" running RTX 4090 24GB \N{MULTIPLICATION SIGN} 2 spot CN-HK-01 2 h ago")
    assert f"/instances/{running.id}" in page.links
    assert running.machine.price_per_hour is not None
    # Two hours and the two minutes of its way.
    cost = running.machine.price_per_hour * 122 / 60
    assert f"${cost:.2f}" in row
    assert f"${running.machine.price_per_hour:.2f}" in page.text.partition("per hour")[0]


@pytest.mark.parametrize("status", list(Status))
async def test_an_instance_is_shown_in_every_status(dashboard: Dashboard, status: Status) -> None:
    ordered = await dashboard.rig.order()
    reason = Reason("some_code", "Because of this.")
    await dashboard.change(ordered.id, lambda row: replace(row, status=status, reason=reason))

    fleet = await dashboard.get("/?view=all")
    assert f"trainer {status.value}" in fleet.text
    assert "Because of this." in fleet.text

    shown = await dashboard.get(f"/instances/{ordered.id}")
    assert f"trainer {status.value}" in shown.text
    assert "some_code Because of this." in shown.text


async def test_what_has_ended_is_shown_when_it_is_asked_for(dashboard: Dashboard) -> None:
    gone = await dashboard.rig.order(name="gone")
    await dashboard.rig.order(name="current")
    await dashboard.change(gone.id, lambda row: replace(row, status=Status.DELETED))

    assert "gone deleted" not in (await dashboard.get("/")).text
    assert "gone deleted" in (await dashboard.get("/?view=all")).text
    assert "gone deleted" in (await dashboard.get("/?status=deleted")).text
    only = (await dashboard.get("/?name=CURR&view=all")).text
    assert "current creating" in only
    assert "gone deleted" not in only


async def test_an_order_that_was_refused_needs_no_attention_and_has_ended(
    dashboard: Dashboard,
) -> None:
    dashboard.rig.fate("no-balance")
    with pytest.raises(OrderFailed):
        await dashboard.rig.order(name="unpaid")
    dashboard.rig.fate("pull-forever")
    await dashboard.rig.order(name="stuck")
    await dashboard.rig.advance(minutes=11)

    page = await dashboard.get("/?view=attention")
    assert "Need attention 1 1 failed" in page.text
    assert "stuck failed" in page.text
    assert "unpaid" not in page.text
    assert "unpaid" not in (await dashboard.get("/")).text
    ended = await dashboard.get("/?view=ended")
    assert "unpaid failed refused, nothing bought" in ended.text
    assert "stuck" not in ended.text
    both = (await dashboard.get("/?status=failed")).text
    assert "unpaid failed" in both
    assert "stuck failed" in both


async def test_a_filter_that_matches_nothing_says_so(dashboard: Dashboard) -> None:
    assert "Nothing matches this filter." in (await dashboard.get("/?name=nobody")).text


@pytest.mark.parametrize("path", ["/?view=nonsense", "/?status=nonsense"])
async def test_a_filter_that_does_not_exist_is_not_found(dashboard: Dashboard, path: str) -> None:
    page = await dashboard.get(path, status=404)

    assert "There is no such filter" in page.text
    assert page.all("a", class_="button")[-1]["href"] == "/"


async def test_a_bad_cursor_is_refused_on_a_page(dashboard: Dashboard) -> None:
    page = await dashboard.get("/?cursor=nonsense", status=400)

    assert "is not a cursor that this service has given" in page.text


async def test_a_long_fleet_is_shown_page_by_page(dashboard: Dashboard) -> None:
    for number in range(101):
        await dashboard.rig.order(name=f"machine-{number}")

    first = await dashboard.get("/")
    (older,) = [link for link in first.links if "cursor=" in link]
    second = await dashboard.get(older)

    assert "Instances 101" in first.text
    assert "machine-100 " in first.text
    assert "machine-0 " not in first.text
    assert "machine-0 " in second.text
    assert not [link for link in second.links if "cursor=" in link]
    assert "Newest" in second.text

    filtered = await dashboard.get(f"{older}&status=creating&name=machine")
    newest = "/?view=current&status=creating&name=machine"
    assert newest in filtered.links
    assert "machine-100 " in (await dashboard.get(newest)).text


async def test_a_page_listens_to_every_kind_of_event(dashboard: Dashboard) -> None:
    (body,) = (await dashboard.get("/")).all("body")

    assert body["data-types"].split() == [event_type.value for event_type in EventType]


async def test_everyone_sees_a_change_at_once_although_pages_are_kept(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    assert "trainer running" in (await dashboard.get("/")).text

    await dashboard.post(f"/instances/{running.id}/stop")

    assert "trainer stopping" in (await dashboard.get("/")).text


async def test_a_machine_that_could_not_be_looked_at_is_marked_as_stale(
    dashboard: Dashboard,
) -> None:
    running = await dashboard.rig.running()
    dashboard.rig.fault("error", "list")
    await dashboard.rig.advance(minutes=3)

    fleet = await dashboard.get("/")
    assert "stale" in fleet.text
    assert "Novita cannot be asked at the moment" in fleet.text
    assert "Novita could not be asked." in (await dashboard.get(f"/instances/{running.id}")).text
