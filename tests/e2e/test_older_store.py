"""The store, the backup and the ``.env`` of an older version start under this one and go on.

``scripts/older_store.py`` made ``older_store/`` with the program of commit c378223: instances in
every state that lasts, open orders, deliveries that are done, given up and pending, an orphan, and
idempotency keys.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from gpukeeper.simulator.json_codec import decode
from gpukeeper.simulator.machines.machine import Gpu, Machine, Moment
from gpukeeper.simulator.market.create_request import Order
from tests.e2e.novita import QUICK, Novita, simulating
from tests.e2e.program import run
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.serving import ORDER, Json, Service
from tests.e2e.waiting import eventually

FOLDER = Path(__file__).parent / "older_store"
SECRETS = ("secret_key", "webhook_secret", "deployment")
KEY = "key-of-the-old-store"
SEED = 1207
# So long ago the older version was stopped: what it had planned for the next moment is due.
AGO = timedelta(seconds=60)

# What another look at Novita may change.
_OF_THE_LOOK = frozenset({"stale", "observedAt"})
# What nothing happened to between the two versions.
LASTING = ("runner", "noticed", "reclaimed", "lost", "stopped", "deleted", "refused")

# What the older version stores as well, at moments at which its store was not left: between a
# machine's absence and its confirmation, after a look that went well, and of an adoption.
SHORT_LIVED = {
    "instance.confirm_at": {"str"},
    "fact look.error": {"NoneType"},
    "event instance.created.previousStatus": {"NoneType"},
}


@pytest.fixture
def as_of_now() -> Callable[[str], str]:
    """Give a function that moves all times in a text, as if it was written a minute ago."""
    written = re.findall(r'"observedAt": "([^"]+)"', (FOLDER / "shown.json").read_text())
    ago = datetime.now(UTC) - datetime.fromisoformat(max(written))
    by = timedelta(seconds=int((ago - AGO).total_seconds()))

    def move_time(found: re.Match[str]) -> str:
        return (datetime.fromisoformat(found[0]) + by).isoformat()

    def move_microseconds(found: re.Match[str]) -> str:
        return str(int(found[0]) + by // timedelta(microseconds=1))

    def move(text: str) -> str:
        moved = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", move_time, text)
        return re.sub(r"\b1[78]\d{14}\b", move_microseconds, moved)

    return move


@pytest.fixture
def shown(as_of_now: Callable[[str], str]) -> Json:
    """Give what the older version answered before it was stopped."""
    found: Json = json.loads(as_of_now((FOLDER / "shown.json").read_text()))
    return found


@pytest.fixture
def novita(shown: Json) -> Iterator[Novita]:
    """Give a Novita that has the machines of the store."""
    with simulating(replace(QUICK, seed=SEED)) as novita:
        world = novita.simulator.world
        with world.lock:
            store = (FOLDER / "store.sql").read_text()
            world.name = re.findall("""'world','"(.*)"'""", store)[0]
            for each in shown["machines"]:
                world.add(machine_of(each))
        yield novita


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver of this test alone."""
    with receiving() as receiver:
        yield receiver


def machine_of(shown: Json) -> Machine:
    """Return a machine as the admin API of the older simulator has shown it."""
    moments = tuple(
        Moment(
            **each
            | {
                "at": datetime.fromisoformat(each["at"]),
                "gpu": Gpu(each["gpu"]),
                "reclaim_at": each["reclaim_at"] and datetime.fromisoformat(each["reclaim_at"]),
            }
        )
        for each in (*shown["past"], *shown["future"])
    )
    order = decode(Order, shown["order"])
    return Machine(shown["id"], order, shown["cluster_id"], shown["price"], moments, moments)


@pytest.fixture
def upgraded(
    tmp_path: Path,
    as_of_now: Callable[[str], str],
    novita: Novita,
    receiver: Receiver,
) -> Iterator[Service]:
    """Give this version, not started yet, in the place of the older one: files and ``.env``."""

    def here(text: str) -> str:
        return (
            as_of_now(text)
            .replace("http://127.0.0.1:47001", novita.url)
            .replace("http://127.0.0.1:47002", receiver.url.rstrip("/"))
            .replace("GPUKEEPER_PORT=47003", "GPUKEEPER_PORT=0")
        )

    service = Service(tmp_path, {"GPUKEEPER_API_KEYS": KEY})
    service.data_dir.mkdir()
    (tmp_path / ".env").write_text(here((FOLDER / "settings.env").read_text()))
    for name in SECRETS:
        shutil.copy(FOLDER / name, service.data_dir / name)
        (service.data_dir / name).chmod(0o600)
    store = here((FOLDER / "store.sql").read_text())
    fill(service.data_dir / "gpukeeper.db", store)
    fill(tmp_path / "backup.db", store, (FOLDER / "only-in-backup.sql").read_text())
    with ExitStack() as stack:
        stack.callback(service.close)
        yield service


def fill(path: Path, *scripts: str) -> None:
    """Make a database by its statements."""
    with closing(sqlite3.connect(path)) as connection:
        for script in scripts:
            connection.executescript(script)


def body_of(instance: Json) -> dict[str, Any]:
    """Return an instance as it is shown, without what another look may change."""
    return {name: value for name, value in instance.items() if name not in _OF_THE_LOOK}


def everything_goes_on(service: Service, novita: Novita, receiver: Receiver, shown: Json) -> None:
    """Check that the service shows what was there and ends what was begun."""
    instances = shown["instances"]
    for name in LASTING:
        found = service.instance(instances[name]["id"])
        assert body_of(found) == body_of(instances[name])
    orphans = service.get("/api/orphans").json()["orphans"]
    assert [each["novitaId"] for each in orphans] == [each["novitaId"] for each in shown["orphans"]]

    # Open orders: the answer that was lost is looked up, and what was not sold is bought once.
    for name in ("unanswered", "unsold"):
        bought = service.wait_for(instances[name]["id"], "running")
        (machine,) = novita.machines(name)
        assert bought["novitaId"] == machine.id
        envs = {each.key: each.value for each in machine.order.envs}
        assert envs["TOKEN"] == f"secret-of-the-{name}"
    for name, action, end in (
        ("booting", "finish", "running"),
        ("stopping", "finish", "stopped"),
        ("deleting", "finish", "deleted"),
    ):
        novita.act(instances[name]["novitaId"], action)
        eventually(lambda: service.instance(instances[name]["id"])["status"] == end, end)  # noqa: B023
    assert [visit.route for visit in novita.visits("create")] == ["create"]

    # What happened before is known, and what happens now comes after it.
    for name, events in shown["events"].items():
        answer = service.get(f"/api/instances/{instances[name]['id']}/events").json()
        now = [[each["id"], each["type"]] for each in answer["events"]]
        assert now[: len(events)] == events
    deliveries = service.get("/api/deliveries", params={"limit": "1000"}).json()["deliveries"]
    ended = {each["id"]: each["status"] for each in deliveries}
    for delivery_id, status in shown["deliveries"].items():
        assert ended[delivery_id] == status or status == "pending"
    (pending,) = (key for key, value in shown["deliveries"].items() if value == "pending")
    eventually(lambda: status_of(service, pending) == "delivered", "the pending delivery")
    secret = (FOLDER / "webhook_secret").read_text().strip()
    (hook,) = receiver.hooks(instances["booting"]["id"], type="instance.created")
    assert Webhook(secret).verify(hook.body, hook.headers)

    # An order that is repeated under its key is not bought again.
    repeated = service.try_order(**order_of("stopped"), headers={"idempotency-key": "key-stopped"})
    assert repeated.json()["id"] == instances["stopped"]["id"]
    another = service.try_order(**order_of("another"), headers={"idempotency-key": "key-stopped"})
    assert another.json()["code"] == "idempotency_key_reused"
    adopted = service.post(f"/api/orphans/{orphans[0]['novitaId']}/adopt")
    assert adopted.status_code == 201
    assert len(novita.visits("create")) == 1


def shapes_in(path: Path) -> dict[str, set[str]]:
    """Return every field of the JSON that is stored, with its types; an object's are its fields."""
    shapes: dict[str, set[str]] = {}
    with closing(sqlite3.connect(path)) as connection:
        for body in connection.execute("SELECT body FROM instances"):
            add_shape(shapes, "instance", json.loads(body[0]))
        for kind, data in connection.execute("SELECT type, data FROM events"):
            add_shape(shapes, f"event {kind}", json.loads(data))
        for key, body in connection.execute("SELECT key, body FROM facts"):
            add_shape(shapes, f"fact {key}", json.loads(body))
    return shapes


def add_shape(shapes: dict[str, set[str]], field: str, value: Any) -> None:
    """Note the type of a value and of everything in it."""
    shape = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
    shapes.setdefault(field, set()).add(shape)
    for key, each in value.items() if isinstance(value, dict) else ():
        add_shape(shapes, f"{field}.{key}", each)
    for each in value if isinstance(value, list) else ():
        add_shape(shapes, f"{field}[]", each)


def order_of(name: str) -> Json:
    """Return what the older version was asked for."""
    return ORDER | {"name": name, "startupTimeout": 86400}


def status_of(service: Service, delivery_id: str) -> Any:
    """Return how a delivery is."""
    return service.get(f"/api/deliveries/{delivery_id}").json()["status"]


def test_a_store_of_an_older_version_goes_on_with_what_it_was_doing(
    upgraded: Service, novita: Novita, receiver: Receiver, shown: Json
) -> None:
    upgraded.start()
    everything_goes_on(upgraded, novita, receiver, shown)


def test_what_this_version_stores_is_what_an_older_replica_reads(
    upgraded: Service, novita: Novita, receiver: Receiver, shown: Json
) -> None:
    path = upgraded.data_dir / "gpukeeper.db"
    before = shapes_in(path)
    upgraded.start()
    everything_goes_on(upgraded, novita, receiver, shown)
    assert upgraded.stop() == 0
    after = shapes_in(path)
    # A field that the older version does not know would be lost when it changes the row, and
    # without one that it needs it could not read the row.
    known = {key: before.get(key, set()) | SHORT_LIVED.get(key, set()) for key in after}
    unknown = {key: shapes - known[key] for key, shapes in after.items()}
    assert {key: shapes for key, shapes in unknown.items() if shapes} == {}


def test_a_backup_of_an_older_version_is_restored_and_goes_on(
    upgraded: Service, novita: Novita, receiver: Receiver, shown: Json
) -> None:
    for name in SECRETS:
        shutil.move(upgraded.data_dir / name, upgraded.directory / name)
    (upgraded.data_dir / "gpukeeper.db").unlink()
    restored = run(
        "restore",
        str(upgraded.directory / "backup.db"),
        settings={"GPUKEEPER_DATA_DIR": str(upgraded.data_dir)},
        directory=upgraded.directory,
    )
    assert restored.returncode == 0, restored.stderr
    upgraded.start()
    everything_goes_on(upgraded, novita, receiver, shown)
