"""What needs somebody's attention is seen: machines that are taken back, webhooks nobody took."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.domain.machines import Phase, SpotSignal
from gpukeeper.store.tables import deliveries
from tests.dashboard.conftest import Dashboard
from tests.engine.rig import ORDER
from tests.instances import edit


async def notify(dashboard: Dashboard, **details: object) -> Instance:
    """Give a running machine that Novita has said that it takes back."""
    running = await dashboard.rig.running(**details)
    dashboard.rig.console(running, "spot-notice", in_seconds=23 * 60 + 30)
    await dashboard.rig.advance(seconds=90)
    return await dashboard.rig.find(running.id)


async def test_a_reclaim_notice_is_seen_in_the_fleet_and_counted_as_attention(
    dashboard: Dashboard,
) -> None:
    notified = await notify(dashboard)
    assert notified.status is Status.RUNNING
    assert notified.machine.reclaim_at is not None

    page = await dashboard.get("/")
    assert "trainer running taken back in 22 min RTX" in page.text
    assert "Need attention 1 1 to be taken back" in page.text
    assert page.all("a", class_="tile alarm", href="/?view=attention")
    (badge,) = [each for each in page.all("span") if "takes it back" in each.get("title", "")]
    assert badge["title"].endswith("UTC")
    (left,) = [each for each in page.all("time") if "data-left" in each]
    assert 22 * 60 <= int(left["data-left"]) < 23 * 60
    assert "trainer running taken back" in (await dashboard.get("/?view=attention")).text


async def test_a_notice_that_is_withdrawn_or_over_is_attention_no_more(
    dashboard: Dashboard,
) -> None:
    notified = await notify(dashboard)
    none = SpotSignal.NONE
    await dashboard.change(notified.id, lambda row: edit(row, spot_signal=none, reclaim_at=None))

    page = await dashboard.get("/")
    assert "taken back" not in page.text
    assert "Need attention 0 none" in page.text
    assert not page.all("a", class_="tile alarm")
    assert "taken back in" not in (await dashboard.get(f"/instances/{notified.id}")).text


@pytest.mark.parametrize(
    ("signal", "has_time", "words"),
    [
        (SpotSignal.NOTIFIED, False, "will be taken back, time unknown"),
        (SpotSignal.RECLAIMING, True, "being taken back"),
        (SpotSignal.RECLAIMING, False, "being taken back"),
        (SpotSignal.NONE, True, "taken back in 30 min"),
    ],
)
async def test_a_notice_is_seen_whatever_it_leaves_out(
    dashboard: Dashboard, signal: SpotSignal, has_time: bool, words: str
) -> None:
    running = await dashboard.rig.running()
    at = dashboard.rig.clock() + timedelta(minutes=30) if has_time else None
    await dashboard.change(running.id, lambda row: edit(row, spot_signal=signal, reclaim_at=at))

    page = await dashboard.get("/")
    assert f"trainer running {words}" in page.text
    assert "Need attention 1" in page.text
    shown = await dashboard.get(f"/instances/{running.id}")
    assert "this machine back" in shown.text
    assert f"/order?like={running.id}" in shown.links


async def test_a_time_that_has_passed_is_not_counted_below_zero(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    past = dashboard.rig.clock() - timedelta(seconds=1)
    signal = SpotSignal.NOTIFIED
    await dashboard.change(running.id, lambda row: edit(row, spot_signal=signal, reclaim_at=past))

    assert "trainer running being taken back" in (await dashboard.get("/")).text
    shown = await dashboard.get(f"/instances/{running.id}")
    assert "Novita is taking this machine back" in shown.text


@pytest.mark.parametrize("status", [Status.RECLAIMED, Status.DELETED, Status.FAILED])
async def test_what_has_ended_is_not_said_to_be_taken_back(
    dashboard: Dashboard, status: Status
) -> None:
    notified = await notify(dashboard)
    await dashboard.change(notified.id, lambda row: replace(row, status=status))

    assert "taken back in" not in (await dashboard.get("/?view=all")).text
    assert "to be taken back" not in (await dashboard.get("/")).text
    assert "taken back in" not in (await dashboard.get(f"/instances/{notified.id}")).text


async def test_the_replacement_form_is_filled_in_with_the_same_order(dashboard: Dashboard) -> None:
    notified = await notify(
        dashboard,
        gpu_num=2,
        rootfs_size_gb=100,
        envs={"TOKEN": "secret-of-the-order"},
        labels={"team": "research"},
        command="sleep 9",
    )
    shown = await dashboard.get(f"/instances/{notified.id}")
    assert "Novita takes this machine back in 22 min, at" in shown.text
    (link,) = [each for each in shown.links if "like=" in each]

    form = await dashboard.get(link)

    assert form.value("name") == "trainer"
    assert form.value("gpuNum") == "2"
    assert form.value("rootfsSize") == "100"
    assert form.value("command") == "sleep 9"
    (product,) = [each for each in form.all("input", type="radio") if "checked" in each]
    assert product["value"] == notified.machine.product_name
    options = [
        each["value"] for each in form.all("option") if "selected" in each and "value" in each
    ]
    assert ORDER.template_id in options
    assert "team=research" in form.html
    # The value is shown nowhere, and its name comes so that it is not forgotten.
    assert "TOKEN=" in form.html
    assert "secret-of-the-order" not in form.html
    assert form.value("blanked") == "TOKEN"
    await dashboard.get("/order?like=ins_nothing", status=404)


async def test_webhooks_that_were_given_up_are_attention_and_lead_to_the_log(
    dashboard: Dashboard,
) -> None:
    await dashboard.rig.running()
    now = dashboard.rig.clock()
    values = {"status": DeliveryStatus.EXHAUSTED.value, "finished_at": now, "due_at": None}
    await dashboard.rig.database.write(
        lambda c: c.execute(deliveries.update().values(receiver="hooks.example:443", **values))
    )
    count = len(await dashboard.rig.delivery_statuses())
    assert count > 1

    page = await dashboard.get("/")
    words = f"{count} webhooks not delivered in 24 h, all to hooks.example"
    assert words in page.text
    assert "Need attention 1 1 webhook receiver" in page.text
    assert "/deliveries?status=exhausted" in page.links
    health = await dashboard.get("/status")
    assert f"ready, but {count} webhooks were not delivered in 24 h" in health.text
    assert "/deliveries?status=exhausted" in health.links

    await dashboard.rig.advance(hours=25)
    assert "not delivered" not in (await dashboard.get("/")).text
    assert "not delivered" not in (await dashboard.get("/status")).text


async def test_an_ended_machine_is_not_said_to_run_at_novita(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running()
    await dashboard.rig.service.want(running.id, Command.DELETE)
    await dashboard.rig.advance(minutes=5)
    gone = await dashboard.rig.find(running.id)
    assert gone.status is Status.DELETED

    shown = await dashboard.get(f"/instances/{running.id}")
    assert "not found since" in shown.text
    assert "says '" not in shown.text
    await dashboard.change(running.id, lambda row: edit(row, gone_at=None))
    assert "says '" not in (await dashboard.get(f"/instances/{running.id}")).text


@pytest.mark.parametrize(
    ("phase", "verbs"),
    [
        (Phase.PREPARING, ["delete"]),
        (Phase.DOWN, ["start", "delete"]),
    ],
)
async def test_a_failed_machine_is_offered_what_can_work(
    dashboard: Dashboard, phase: Phase, verbs: list[str]
) -> None:
    ordered = await dashboard.rig.running()
    await dashboard.change(ordered.id, lambda row: edit(row, status=Status.FAILED, phase=phase))

    page = await dashboard.get(f"/instances/{ordered.id}")
    offered = [link.rpartition("/")[2] for link in page.links if f"{ordered.id}/" in link]
    assert offered == verbs
    for verb in {"start", "stop"} - set(verbs):
        asked = await dashboard.get(f"/instances/{ordered.id}/{verb}")
        assert not asked.all("button", class_="danger")


async def test_the_faults_of_an_order_are_told_by_the_labels_of_the_form(
    dashboard: Dashboard,
) -> None:
    page = await dashboard.post("/order", status=400, name="a")

    alert = page.html.partition('id="refusal"')[2].partition("</div>")[0]
    assert ">Product</a>" in alert
    assert ">Template</a>" in alert
    assert "productName</a>" not in alert
    assert "templateId</a>" not in alert
