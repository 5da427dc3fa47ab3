"""Rows 3.1 to 3.4 of the requirements: whom a change is announced to, and how."""

import base64
from itertools import pairwise

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gpukeeper import __version__
from gpukeeper.config import variables
from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.e2e.serving import WEBHOOK_SECRET, Json, Service
from tests.e2e.waiting import eventually

BACKOFF_SECONDS = 0.1
DEFAULTS = {variable.name: variable.default for variable in variables()}


def test_3_1_running_is_posted_with_the_instance(service: Service, receiver: Receiver) -> None:
    instance = service.running(labels={"team": "vision"})

    hook = receiver.wait_for(instance["id"], "instance.running")

    told = hook.json["data"]["instance"]
    # How fresh an instance is belongs to the moment at which it is asked for.
    # What listings leave out is asked for once it runs, and looks go on.
    later = {"observedAt": None, "sshCommand": None}
    assert {**told, **later} == {**instance, **later}
    assert told["endpoints"][0]["url"].startswith("https://")
    assert told["labels"] == {"team": "vision"}
    assert hook.json["data"]["previousStatus"] in ("creating", "starting")
    assert hook.json["data"]["error"] is None


def test_3_2_a_failure_is_posted_with_the_error(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    novita.fate("boot-error", state="ImagePullFailed", message="manifest unknown")
    ordered = service.order()

    hook = receiver.wait_for(ordered["id"], "instance.failed")

    error = hook.json["data"]["error"]
    assert error["code"] == "boot_failed"
    assert "manifest unknown" in error["message"]
    assert hook.json["data"]["instance"]["reason"] == error
    assert hook.json["data"]["instance"]["id"] == ordered["id"]


def test_3_3_a_failed_delivery_is_retried_three_times_with_exponential_backoff(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    receiver.answer = lambda hook: 500 if hook.type == "instance.running" else 204
    instance = service.running()
    delivery = eventually(lambda: _delivery(service, instance, "exhausted"), "the last retry")

    attempts = receiver.hooks(instance["id"], type="instance.running")
    gaps = [later.arrived_at - earlier.arrived_at for earlier, later in pairwise(attempts)]
    assert len(attempts) == 4
    # Each pause is twice the one before it, give or take a fifth; a slow machine makes it longer.
    assert all(gap >= 0.8 * BACKOFF_SECONDS * 2**number for number, gap in enumerate(gaps)), gaps
    assert {attempt.id for attempt in attempts} == {delivery["eventId"]}
    assert {attempt.body for attempt in attempts} == {attempts[0].body}
    assert [each["responseStatus"] for each in delivery["attempts"]] == [500] * 4
    assert service.log("delivery_exhausted", level="error", delivery_id=delivery["id"])
    assert DEFAULTS["GPUKEEPER_WEBHOOK_RETRIES"] == "3"
    assert DEFAULTS["GPUKEEPER_WEBHOOK_BACKOFF"] == "2"

    receiver.answer = lambda hook: 204
    assert service.post(f"/api/deliveries/{delivery['id']}/redeliver").status_code == 202
    assert eventually(lambda: _delivery(service, instance, "delivered"), "the redelivery")


def test_3_3_a_retry_that_succeeds_ends_the_retries(service: Service, receiver: Receiver) -> None:
    failures = [500, 503]
    receiver.answer = lambda hook: (
        failures.pop() if hook.type == "instance.running" and failures else 204
    )
    instance = service.running()

    delivery = eventually(lambda: _delivery(service, instance, "delivered"), "the delivery")

    assert [each["responseStatus"] for each in delivery["attempts"]] == [503, 500, 204]
    assert len(receiver.hooks(instance["id"], type="instance.running")) == 3


def test_3_4_without_a_webhook_the_change_is_logged_and_all_else_goes_on(serve: Serve) -> None:
    service = serve()

    instance = service.running()

    assert service.log("instance_changed", instance_id=instance["id"], status="running")
    assert service.history(instance["id"])[-1] == "running"
    assert service.get("/api/deliveries").json()["deliveries"] == []
    assert service.post("/api/webhooks/test").status_code == 400


def test_every_webhook_is_signed_as_standard_webhooks_says(
    service: Service, receiver: Receiver
) -> None:
    instance = service.running()
    receiver.wait_for(instance["id"], "instance.running")
    verifier = Webhook(WEBHOOK_SECRET)

    hooks = receiver.hooks(instance["id"])

    for hook in hooks:
        assert verifier.verify(hook.body, hook.headers) == hook.json
        assert hook.headers["content-type"] == "application/json"
        assert hook.headers["user-agent"] == f"gpukeeper/{__version__}"
    assert len({hook.id for hook in hooks}) == len(hooks)


def test_while_a_secret_is_replaced_receivers_may_know_either(
    serve: Serve, receiver: Receiver
) -> None:
    new_secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    service = serve(
        GPUKEEPER_WEBHOOK_URL=receiver.url,
        GPUKEEPER_WEBHOOK_SECRET=f"{new_secret},{WEBHOOK_SECRET}",
    )
    instance = service.running()
    receiver.wait_for(instance["id"], "instance.running")

    for hook in receiver.hooks(instance["id"]):
        for secret in (new_secret, WEBHOOK_SECRET):
            assert Webhook(secret).verify(hook.body, hook.headers) == hook.json
        with pytest.raises(WebhookVerificationError):
            Webhook("whsec_" + "B" * 32).verify(hook.body, hook.headers)


def test_a_test_event_is_sent_on_request(service: Service, receiver: Receiver) -> None:
    answer = service.post("/api/webhooks/test")

    assert answer.status_code == 202
    event_id = answer.json()["deliveries"][0]["eventId"]
    eventually(
        lambda: event_id in [hook.id for hook in receiver.hooks(type="webhook.test")], "the test"
    )


def test_webhooks_arrive_in_the_order_of_the_events_even_if_the_first_has_to_be_retried(
    service: Service, receiver: Receiver
) -> None:
    failures = [500, 500, 500]
    receiver.answer = lambda hook: (
        failures.pop() if hook.type == "instance.created" and failures else 204
    )
    instance = service.running()
    receiver.wait_for(instance["id"], "instance.running")

    taken = [hook.type for hook in receiver.hooks(instance["id"])]

    assert taken[:5] == ["instance.created"] * 4 + ["instance.running"]
    # A second later it is told how the machine is reached, which may have come by now.
    assert set(taken[5:]) <= {"instance.connection_changed"}


def test_the_history_tells_every_change_in_order_and_webhooks_tell_the_same(
    service: Service, receiver: Receiver
) -> None:
    instance_id = service.running(billingMode="onDemand")["id"]
    for verb, status in (("stop", "stopped"), ("start", "running"), ("restart", "running")):
        assert service.post(f"/api/instances/{instance_id}/{verb}").status_code == 202
        _wait(service, instance_id, status)
    assert service.http.delete(f"/api/instances/{instance_id}").status_code == 202
    receiver.wait_for(instance_id, "instance.deleted")

    events = service.get(f"/api/instances/{instance_id}/events").json()["events"]

    told = [event["type"].removeprefix("instance.") for event in events]
    assert told[:2] == ["requested", "created"]
    assert "connection_changed" in told
    assert [each for each in told[2:] if each not in ("starting", "connection_changed")] == [
        *("running", "stopping", "stopped", "running", "running", "deleting", "deleted"),
    ]
    assert told.count("starting") in (2, 3)
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)
    for earlier, later in pairwise(events):
        assert later["data"]["previousStatus"] == earlier["data"]["instance"]["status"]
    announced = [event for event in events if event["type"] in _ANNOUNCED]
    assert [(hook.id, hook.json) for hook in receiver.hooks(instance_id)] == [
        (event["id"], {name: event[name] for name in ("type", "timestamp", "data")})
        for event in announced
    ]


_ANNOUNCED = {
    f"instance.{name}"
    for name in ("created", "running", "connection_changed", "stopped", "deleted")
}


def _delivery(service: Service, instance: Json, status: str) -> Json | None:
    """Return the delivery of `instance.running` if it has this status."""
    query = {"instanceId": instance["id"], "status": status}
    found = service.get("/api/deliveries", params=query).json()["deliveries"]
    for delivery in found:
        if delivery["eventType"] == "instance.running":
            shown: Json = service.get(f"/api/deliveries/{delivery['id']}").json()
            return shown
    return None


def _wait(service: Service, instance_id: str, status: str) -> None:
    eventually(lambda: service.instance(instance_id)["status"] == status, status)
