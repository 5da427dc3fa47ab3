"""One trace from the request over the engine and Novita to the webhook, whoever does the work."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.service.ordering import BuyerElsewhere
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from gpukeeper.telemetry import tracing
from tests.engine.conftest import Build
from tests.engine.rig import ORDER, Rig
from tests.engine.test_restored import copy
from tests.telemetry.collector import CALLERS, Recording, trace_of, traceparent_of

API = "/gpu-instance/openapi/v1"


async def asked(rig: Rig, name: str) -> Instance:
    """Order within a request of this name."""
    with tracing.start_span(name):
        return await rig.order()


def told(rig: Rig) -> dict[str, str | None]:
    """Return where each webhook said that it belongs, by its type."""
    types = [json.loads(body)["type"] for _, _, body in rig.receiver.sent]
    return dict(zip(types, rig.receiver.traceparents, strict=True))


async def test_an_order_is_one_trace_from_the_request_to_the_webhook(
    build: Build, recording: Recording
) -> None:
    rig = build()
    ordered = await asked(rig, "request")
    await rig.advance(minutes=2)

    assert (await rig.find(ordered.id)).status is Status.RUNNING
    bought = ["request", "buy", f"POST {API}/gpu/instance/create"]
    for way in (
        bought,
        ["request", f"GET {API}/products"],
        ["request", "buy", "webhook instance.created"],
        ["request", "see", "webhook instance.running"],
    ):
        assert way in recording.ways()
    places = told(rig)
    for event in ("created", "running"):
        webhook = recording.named(f"webhook instance.{event}")
        assert trace_of(webhook) == trace_of(recording.named("request"))
        assert places[f"instance.{event}"] == traceparent_of(webhook)


async def test_a_look_serves_all_and_what_is_seen_links_to_it(
    build: Build, recording: Recording
) -> None:
    rig = build()
    await asked(rig, "first")
    await asked(rig, "second")
    await rig.advance(minutes=2)

    assert ["look", f"GET {API}/gpu/instances"] in recording.ways()
    assert ["first", "see", "webhook instance.running"] in recording.ways()
    assert ["second", "see", "webhook instance.running"] in recording.ways()
    looks = {trace_of(span) for span in recording.spans if span.name == "look"}
    links = [link for span in recording.spans if span.name == "see" for link in span.links]
    assert {f"{link.context.trace_id:032x}" for link in links} <= looks
    assert links


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_after_a_crash_another_process_goes_on_with_the_trace(
    build: Build, recording: Recording, tmp_path: Path
) -> None:
    first = build()
    impatient = replace(first.service.ordering, patience=timedelta(0), buyer=BuyerElsewhere())
    with tracing.start_span("request"):
        await impatient.place(ORDER)
    # All that a crash leaves is the store as it is now: nothing is bought yet.
    left = copy(first, tmp_path / "left.db")

    second = build(store=left, beside=first)
    await second.advance(minutes=2)

    assert ["request", "buy", f"POST {API}/gpu/instance/create"] in recording.ways()
    assert ["request", "buy", "webhook instance.created"] in recording.ways()
    assert ["request", "see", "webhook instance.running"] in recording.ways()


async def test_a_later_wish_is_a_trace_of_its_own(build: Build, recording: Recording) -> None:
    rig = build()
    ordered = await asked(rig, "order")
    await rig.advance(minutes=2)
    with tracing.start_span("stop"):
        await rig.service.want(ordered.id, Command.STOP)
    await rig.advance(minutes=2)
    with tracing.start_span("delete"):
        await rig.service.want(ordered.id, Command.DELETE)
    with tracing.start_span("delete again"):
        await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=2)

    ways = recording.ways()
    assert ["stop", "reconcile", f"POST {API}/gpu/instance/stop"] in ways
    assert ["stop", "see", "webhook instance.stopped"] in ways
    assert ["delete", "reconcile", f"POST {API}/gpu/instance/delete"] in ways
    assert recording.way_to(recording.named("webhook instance.deleted"))[0] == "delete"
    assert ["delete again"] in ways
    assert not any(way[0] == "delete again" and len(way) > 1 for way in ways)


async def test_a_test_event_belongs_to_the_request_for_it(
    build: Build, recording: Recording
) -> None:
    rig = build()
    with tracing.start_span("test", parent=CALLERS):
        await rig.service.send_test()
    await rig.work()

    assert ["test", "webhook webhook.test"] in recording.ways()


async def test_an_orphan_belongs_to_the_request_that_adopts_it(
    build: Build, recording: Recording
) -> None:
    rig = build()
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name="worker-gkte5t12345678"))
    await rig.advance(minutes=5)
    with tracing.start_span("adopt"):
        await rig.service.adopt(machine.id)
    await rig.work()

    assert ["adopt", "webhook instance.created"] in recording.ways()


async def test_what_went_wrong_is_named_and_no_secret_is_shown(
    build: Build, recording: Recording
) -> None:
    rig = build(environ={"GPUKEEPER_WEBHOOK_URL": "https://hooks.example/canary?canary=1"})
    rig.fault("reset", "create", when="after", times=1)
    rig.receiver.answer = lambda url: None if len(rig.receiver.sent) == 1 else 503
    with tracing.start_span("request"):
        await rig.order(envs={"TOKEN": "canary"}, labels={"owner": "canary"}, command="canary")
    await rig.advance(minutes=5)

    said = {(span.attributes or {}).get("error.type") for span in recording.spans}
    assert {"OutcomeUnknown", "no_answer", "503"} <= said
    assert "canary" not in recording.text


async def test_what_was_ordered_while_traces_were_off_is_traced_from_then_on(
    build: Build, recording: Recording
) -> None:
    rig = build()
    ordered = await rig.order()
    await rig.advance(minutes=2)

    assert (await rig.find(ordered.id)).traceparent is None
    assert ["see", "webhook instance.running"] in recording.ways()


async def test_without_traces_no_webhook_names_a_place(rig: Rig) -> None:
    ordered = await rig.running()

    assert ordered.traceparent is None
    assert set(rig.receiver.traceparents) == {None}
