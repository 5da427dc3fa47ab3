"""Ends and restarts of the process: nothing is forgotten, and nothing is bought twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from standardwebhooks import Webhook

from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.program import run
from tests.e2e.receiver import Hook, Receiver
from tests.e2e.serving import Service
from tests.e2e.waiting import PATIENCE_SECONDS, eventually

# What the service promises to a supervisor that waits for it.
DRAIN_SECONDS = 10


def test_sigterm_drains_in_time_and_a_restart_continues(
    serve: Serve, own_novita: Novita, receiver: Receiver
) -> None:
    # The secret is generated, so it has to be the same after the restart.
    service = serve(GPUKEEPER_WEBHOOK_SECRET="", GPUKEEPER_WEBHOOK_URL=receiver.url)
    hanging = _Hanging()
    receiver.answer = hanging
    own_novita.fate("pull-forever", times=3)
    announced = service.order(name="announced")
    assert hanging.has_begun.wait(PATIENCE_SECONDS)
    with ThreadPoolExecutor() as pool:
        orders = []
        # One purchase takes its time, the other hangs as the receiver does.
        for name, seconds in (("slow", 1), ("lost", PATIENCE_SECONDS)):
            own_novita.fault("slow", "create", when="after", seconds=seconds, times=1)
            orders.append(pool.submit(service.try_order, name=name))
            eventually(own_novita.have_struck, "the purchase")
        status, seconds = service.stop_timed()
    hanging.is_over.set()

    assert (status, seconds < DRAIN_SECONDS) == (0, True)
    # Callers are told where to look, and what could be finished was finished.
    slow, lost = (order.result() for order in orders)
    assert slow.status_code in (201, 202)
    assert lost.status_code == 202
    asked_before = len(own_novita.visits())
    own_novita.fault("reset", "list")

    service.start()

    # What was known is served at once, though Novita cannot be asked.
    [bought] = own_novita.machines("slow")
    assert service.get(slow.headers["location"]).json()["novitaId"] == bought.id
    assert service.instance(announced["id"])["status"] in ("creating", "starting")
    own_novita.recover()
    for answer in (slow, lost):
        own_novita.act(_machine_of(service, answer), "set", status="running")
        receiver.wait_for(answer.json()["id"], "instance.running")
    assert len(own_novita.machines()) == 3
    assert "create" not in [visit.route for visit in own_novita.visits()[asked_before:]]

    # What nobody has acknowledged is sent again, under the same id and secret.
    eventually(lambda: len(receiver.hooks(announced["id"])) > 1, "the second attempt")
    first, again = receiver.hooks(announced["id"])
    assert (first.id, first.body) == (again.id, again.body)
    secret = (service.data_dir / "webhook_secret").read_text().strip()
    for hook in (first, again):
        assert Webhook(secret).verify(hook.body, hook.headers)


def test_kill_9_in_the_middle_of_an_order_and_a_restart_leave_exactly_one_machine(
    serve: Serve, own_novita: Novita, receiver: Receiver
) -> None:
    service = serve(GPUKEEPER_WEBHOOK_URL=receiver.url)
    # Novita takes two seconds for its answer to the purchase, or for the purchase itself.
    for name, when in (("killed-late", "after"), ("killed-early", "before")):
        own_novita.fault("slow", "create", when=when, seconds=2, times=1)
        with ThreadPoolExecutor() as pool:
            order = pool.submit(_order_in_vain, service, name)
            eventually(own_novita.have_struck, "the purchase")
            service.kill()
        order.result()

        service.start()

        [instance] = service.get("/api/instances", params={"name": name}).json()["instances"]
        hook = receiver.wait_for(instance["id"], "instance.running")
        [machine] = own_novita.machines(name)
        assert hook.json["data"]["instance"]["novitaId"] == machine.id
        assert service.history(instance["id"])[:2] == ["requested", "created"]
        repeated = service.try_order(name=name, headers={"idempotency-key": name})
        assert repeated.json()["id"] == instance["id"]
    assert len(own_novita.visits("create")) == len(own_novita.machines()) == 2


def test_a_second_serve_on_the_same_data_directory_is_refused(service: Service) -> None:
    settings = {**service.settings, "GPUKEEPER_DATA_DIR": str(service.data_dir)}

    ended = run("serve", settings=settings, directory=service.directory)

    assert ended.returncode == 78
    assert "GPUKEEPER_DATA_DIR: another gpukeeper runs on" in ended.stderr
    assert service.get("/health/ready").status_code == 200


class _Hanging:
    """A receiver that takes a webhook and does not answer before ``is_over``."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.is_over = threading.Event()

    def __call__(self, hook: Hook) -> int:
        self.has_begun.set()
        self.is_over.wait(PATIENCE_SECONDS)
        return 204


def _machine_of(service: Service, answer: httpx2.Response) -> str:
    """Return Novita's id of what an answer located, once it is known."""

    def look() -> str | None:
        novita_id: str | None = service.get(answer.headers["location"]).json()["novitaId"]
        return novita_id

    return eventually(look, "the machine")


def _order_in_vain(service: Service, name: str) -> None:
    """Order under a key, and get no answer because the process dies."""
    with pytest.raises(httpx2.TransportError):
        service.try_order(name=name, headers={"idempotency-key": name})
