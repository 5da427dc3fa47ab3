"""A full disk and a locked database: clear errors, nothing half-written, and all well after."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
from sqlalchemy import create_engine

from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from tests.crash.disks import SmallDisk, locked, small_disk
from tests.crash.invariants import bought_twice, unrest
from tests.e2e.novita import Novita, simulating
from tests.e2e.program import run
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.serving import QUICK, Service
from tests.e2e.waiting import eventually
from tests.invariants import broken_always, broken_at_novita, machines_in

BAD_CONFIGURATION = 78
LOCKED = "Nothing can be stored at present: the database is locked by another process."


def test_a_full_disk_is_told_and_the_service_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, serving(tmp_path, disk.path) as house:
        service, novita, receiver = house
        disk.process_id = service.process_id
        kept = service.running(name="kept")
        # The disk is full when Novita has sold, before its answer can be stored.
        on_create(novita, disk)
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(service.try_order, name="under-way")
            is_not_ready(service, f"Nothing can be stored at present: {disk.trouble}.")
            refused = [
                order_with_key(service, "refused"),
                service.http.delete(f"/api/instances/{kept['id']}"),
                service.post(f"/api/instances/{kept['id']}/stop"),
                service.post("/api/webhooks/test"),
            ]
            assert [refusal(answer) for answer in refused] == ["store_unavailable"] * 4
            assert disk.trouble in refused[0].json()["detail"]
            assert service.instance(kept["id"])["status"] == "running"
            assert service.get("/health/live").is_success
            eventually(lambda: says_that_the_log_is_unavailable(service), "a word of the log file")
            disk.free()
            eventually(lambda: service.get("/health/ready").is_success, "readiness")
            assert order_with_key(service, "refused").status_code == 201
            assert under_way.result().status_code in (201, 202)
        bought = under_way.result().json()["id"]
        assert service.http.delete(f"/api/instances/{kept['id']}").status_code == 202
        service.wait_for(bought, "running")
        service.wait_for(kept["id"], "deleted")
        everything_is_well(service, novita, receiver, machines=3)


def test_a_locked_database_is_told_and_the_service_goes_on_when_it_is_free(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, tmp_path / "data") as (service, novita, receiver):
        kept = service.running(name="kept")
        with locked(service.data_dir / "gpukeeper.db"):
            assert refusal(order_with_key(service, "refused")) == "store_unavailable"
            assert refusal(service.http.delete(f"/api/instances/{kept['id']}"))
            is_not_ready(service, LOCKED)
            assert service.instance(kept["id"])["status"] == "running"
        eventually(lambda: service.get("/health/ready").is_success, "readiness")
        assert order_with_key(service, "refused").status_code == 201
        everything_is_well(service, novita, receiver, machines=2)


def test_a_service_does_not_start_on_a_database_that_is_locked(tmp_path: Path) -> None:
    settings = {"NOVITA_API_KEY": "key", "GPUKEEPER_DATA_DIR": str(tmp_path / "data")}
    assert run("migrate", settings=settings, directory=tmp_path).returncode == 0
    with locked(tmp_path / "data/gpukeeper.db"):
        ended = run("serve", settings=settings, directory=tmp_path)
    assert ended.returncode == BAD_CONFIGURATION
    assert "gpukeeper.db: the database is locked by another process" in ended.stderr
    assert "Traceback" not in ended.stderr


@contextmanager
def serving(directory: Path, data_dir: Path) -> Iterator[tuple[Service, Novita, Receiver]]:
    """Serve with a data directory, and make sure in the end that nothing failed by itself."""
    with simulating() as novita, receiving() as receiver:
        settings = {
            "NOVITA_BASE_URL": novita.url,
            "GPUKEEPER_DATA_DIR": str(data_dir),
            "GPUKEEPER_WEBHOOK_URL": receiver.url,
        }
        service = Service(directory, QUICK | settings)
        try:
            service.start()
            yield service, novita, receiver
        finally:
            service.close()


def on_create(novita: Novita, disk: SmallDisk) -> None:
    """Fill a disk at the moment when the next machine has been sold."""
    journal = novita.simulator.world.journal
    write = journal.write

    def fill(record: RequestRecord) -> None:
        write(record)
        if record.route == "create":
            journal.write = write  # type: ignore[method-assign]  # only once
            disk.fill()

    journal.write = fill  # type: ignore[method-assign]  # the moment before Novita answers


def is_not_ready(service: Service, problem: str) -> None:
    """Wait until the service says of itself that it cannot serve, and why."""

    def says_so() -> bool:
        answer = service.get("/health/ready")
        return answer.status_code == 503 and problem in answer.json()["problems"]

    eventually(says_so, problem)


def says_that_the_log_is_unavailable(service: Service) -> bool:
    """Let the log have one more line: its last block may have had room for some."""
    assert service.get("/api/instances").is_success
    return service.log("log_file_unavailable") != []


def order_with_key(service: Service, name: str) -> httpx2.Response:
    """Order as a client that repeats its order when it was refused."""
    return service.try_order(name=name, headers={"idempotency-key": name})


def refusal(answer: httpx2.Response) -> str:
    """Return the code of a refusal that says when to come back."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    return str(answer.json()["code"])


def everything_is_well(
    service: Service, novita: Novita, receiver: Receiver, *, machines: int
) -> None:
    """Check that nothing was lost, doubled or forgotten."""
    world = novita.simulator.world
    engine = create_engine(f"sqlite:///{service.data_dir / 'gpukeeper.db'}")

    def broken() -> list[str]:
        with engine.connect() as connection:
            return [
                *unrest(connection),
                *broken_always(connection, urls=[receiver.url]),
                *broken_at_novita(connection, machines_in(world)),
            ]

    eventually(lambda: not broken(), "rest")
    engine.dispose()
    assert bought_twice(world) == []
    assert len(world.machines) == machines
