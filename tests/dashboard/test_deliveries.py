"""The webhook log, the orphans, and the health of the service."""

from dataclasses import replace
from typing import Any

from gpukeeper.domain.instances import Status
from gpukeeper.service import Health
from gpukeeper.store import orphans
from tests.dashboard.conftest import Dashboard
from tests.instances import edit


async def delivered(dashboard: Dashboard) -> str:
    """Return the path of the delivery that announced a running instance."""
    await dashboard.rig.running()
    page = await dashboard.get("/deliveries")
    assert "instance.running delivered https://hooks.example/all trainer 1" in page.text
    # Newest first: how the machine is reached was told after it ran.
    return [link for link in page.links if link.startswith("/deliveries/dlv_")][1]


async def test_a_delivery_shows_its_attempts_and_what_is_sent(dashboard: Dashboard) -> None:
    page = await dashboard.get(await delivered(dashboard))

    assert "instance.running delivered" in page.text
    assert "5 ms 204" in page.text
    assert '"previousStatus": "starting"' in page.text


async def test_a_delivery_is_sent_again(dashboard: Dashboard) -> None:
    path = await delivered(dashboard)
    before = len(dashboard.rig.receiver.sent)

    again = await dashboard.post(f"{path}/redeliver")
    await dashboard.rig.work()

    assert again.place == path
    assert len(dashboard.rig.receiver.sent) == before + 1
    assert "Attempts # When Took Outcome Answer 2" in (await dashboard.get(path)).text


async def test_a_failed_delivery_shows_why_and_when_it_is_tried_again(
    dashboard: Dashboard,
) -> None:
    dashboard.rig.receiver.answer = lambda url: None
    await dashboard.rig.order()

    pending = await dashboard.get("/deliveries?status=pending")
    (path,) = [link for link in pending.links if link.startswith("/deliveries/dlv_")]
    page = await dashboard.get(path)
    assert "no answer" in page.text
    assert "Next attempt" in page.text
    assert "No delivery is delivered." in (await dashboard.get("/deliveries?status=delivered")).text


async def test_a_test_event_is_sent_and_shown(dashboard: Dashboard) -> None:
    assert "/deliveries/test" in (await dashboard.get("/deliveries")).actions

    sent = await dashboard.post("/deliveries/test")
    await dashboard.rig.work()

    page = await dashboard.get(sent.place)
    assert "webhook.test delivered" in page.text


async def test_without_a_receiver_the_log_says_how_to_get_one(dashboard: Dashboard) -> None:
    outbox = replace(dashboard.rig.service.outbox, operator_urls=())
    site = dashboard.http._transport.app.state.site  # type: ignore[attr-defined]  # ours
    dashboard.http._transport.app.state.site = replace(  # type: ignore[attr-defined]  # ours
        site, service=replace(site.service, outbox=outbox)
    )

    page = await dashboard.get("/deliveries")
    assert "No webhook is configured." in page.text
    assert page.actions == []
    refused = await dashboard.post("/deliveries/test", status=400)
    assert "set GPUKEEPER_WEBHOOK_URL" in refused.text


async def test_a_filter_of_the_log_that_does_not_exist_is_not_found(dashboard: Dashboard) -> None:
    await dashboard.get("/deliveries?status=nonsense", status=404)


async def orphan(dashboard: Dashboard) -> str:
    """Let a machine of ours be unknown to the store; return Novita's id."""
    running = await dashboard.rig.running()
    assert running.machine.novita_id is not None
    seen = await dashboard.rig.novita.get(running.machine.novita_id)
    await dashboard.change(
        running.id, lambda row: edit(row, novita_id=None, status=Status.FAILED, due_at=None)
    )
    now = dashboard.rig.clock()
    await dashboard.rig.database.write(lambda c: orphans.record_listing(c, [seen], now))
    return running.machine.novita_id


async def test_no_orphans_is_good_news(dashboard: Dashboard) -> None:
    assert "None." in (await dashboard.get("/orphans")).text


async def test_an_orphan_is_adopted_after_asking_back(dashboard: Dashboard) -> None:
    novita_id = await orphan(dashboard)
    assert f"/orphans/{novita_id}/adopt" in (await dashboard.get("/orphans")).links

    asked = await dashboard.get(f"/orphans/{novita_id}/adopt")
    assert "It becomes an instance" in asked.text
    done = await dashboard.post(f"/orphans/{novita_id}/adopt")

    assert "trainer running" in (await dashboard.get(done.place)).text
    assert "None." in (await dashboard.get("/orphans")).text


async def test_an_orphan_is_deleted_after_asking_back(dashboard: Dashboard) -> None:
    novita_id = await orphan(dashboard)

    asked = await dashboard.get(f"/orphans/{novita_id}/delete")
    assert "Everything on its disk is lost for good" in asked.text
    done = await dashboard.post(f"/orphans/{novita_id}/delete")

    assert "trainer deleting" in (await dashboard.get(done.place)).text


async def test_orphans_are_counted_on_the_first_page(dashboard: Dashboard) -> None:
    await orphan(dashboard)

    assert "Orphans 1 machines that nobody ordered here" in (await dashboard.get("/")).text


async def test_health_shows_novita_the_loops_and_the_queue(dashboard: Dashboard) -> None:
    await dashboard.rig.running()

    page = await dashboard.get("/status")
    assert "Reachable yes" in page.text
    assert "Deliveries waiting 0" in page.text
    assert "Instances 1 running" in page.text
    assert "Instances due 0" in page.text
    assert "Deliveries due 0" in page.text


async def test_health_is_not_all_green_while_novita_cannot_be_asked(dashboard: Dashboard) -> None:
    await dashboard.rig.running()
    dashboard.rig.fault("error", "list")
    await dashboard.rig.advance(minutes=3)

    page = await dashboard.get("/status")

    assert "Health ready, but Novita cannot be asked" in page.text
    assert page.html.partition('<span id="status">')[2].startswith('<span class="status warn">')


async def test_health_names_what_is_wrong(dashboard: Dashboard) -> None:
    async def examine(is_brief: bool) -> Health:
        body: dict[str, Any] = {"loops": [{"name": "look", "lastTurnAt": None}], "role": "all"}
        body["disks"] = [
            {"name": "data directory", "freeBytes": 32 * 1024 * 1024},
            {"name": "logs", "freeBytes": None},
        ]
        return Health(False, ("the look loop has ended",), body)

    app = dashboard.http._transport.app  # type: ignore[attr-defined]  # ours
    app.state.site = replace(
        app.state.site, service=replace(app.state.site.service, examine=examine)
    )

    page = await dashboard.get("/status")
    assert "not ready" in page.text
    assert "the look loop has ended" in page.text
    assert "look last turned never" in page.text
    assert "Disk of the data directory 32.0 MiB free" in page.text
    assert "Disk of the logs unknown" in page.text
    assert "The database cannot be read" in page.text
