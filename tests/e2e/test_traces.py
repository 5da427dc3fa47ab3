"""The real process sends the trace of an order to a collector, before and after it was killed."""

from tests.e2e.canaries import shown
from tests.e2e.conftest import Serve
from tests.e2e.receiver import Receiver
from tests.e2e.serving import (
    API_KEY,
    NOVITA_KEY,
    ORDER,
    SECRET_KEY,
    WEBHOOK_SECRET,
)
from tests.e2e.waiting import eventually
from tests.telemetry.collector import CALLERS, CALLERS_TRACE, Collector, collecting

COLLECTORS_KEY = "canary-collectors-key-4d1c"
ENV_VALUE = "canary-env-value-5b2e"
SECRETS = {
    "Novita's key": NOVITA_KEY,
    "our key": API_KEY,
    "the webhook secret": WEBHOOK_SECRET.removeprefix("whsec_").rstrip("="),
    "the secret key": SECRET_KEY.rstrip("="),
    "an order's environment": ENV_VALUE,
    "the collector's key": COLLECTORS_KEY,
}
# Receivers put secrets there; the log tells which URL it was.
PATH = {"the path of a webhook": "canary-path-77d0"}


def test_an_order_is_one_trace_although_the_process_is_killed(
    serve: Serve, receiver: Receiver
) -> None:
    with collecting() as collector:
        service = serve(
            GPUKEEPER_WEBHOOK_URL=f"{receiver.url}/canary-path-77d0?a=canary-path-77d0",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS=f"api-key={COLLECTORS_KEY}",
            OTEL_BSP_SCHEDULE_DELAY="50",
        )
        order = ORDER | {"envs": {"TOKEN": ENV_VALUE}}
        answer = service.post("/api/instances", json=order, headers={"traceparent": CALLERS})
        instance_id = answer.json()["id"]
        receiver.wait_for(instance_id, "instance.created")
        eventually(lambda: "webhook instance.created" in names(collector), "the first spans")
        service.kill()
        service.start()
        receiver.wait_for(instance_id, "instance.running")
        # What is not sent yet is sent at the end.
        assert service.stop() == 0

    assert {
        "POST /api/instances",
        "buy",
        "POST /gpu-instance/openapi/v1/gpu/instance/create",
        "webhook instance.created",
        "see",
        "webhook instance.running",
    } <= names(collector)
    places = [hook.headers["traceparent"] for hook in receiver.hooks(instance_id)]
    assert {place.split("-")[1] for place in places} == {CALLERS_TRACE}
    sent = b"".join(batch.body for batch in collector.batches)
    assert shown(SECRETS | PATH, {"the spans": sent}) == []
    log = "".join(map(str, service.log()))
    assert shown(SECRETS, {"the log": log.encode()}) == []
    (request,) = eventually(lambda: service.log("request", route="/api/instances"), "its line")
    assert request["trace_id"] == CALLERS_TRACE


def names(collector: Collector) -> set[str]:
    """Return the names of the spans in the caller's trace."""
    return {span.name for span in collector.spans if span.trace_id.hex() == CALLERS_TRACE}
