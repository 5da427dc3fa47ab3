"""Orphans from outside: a restored file, the API and the commands."""

import json
import shutil
from typing import Any

from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.program import run
from tests.e2e.serving import API_KEY, Service
from tests.e2e.waiting import eventually


def command(service: Service, *arguments: str) -> Any:
    """Run a command against the service and return what it printed."""
    settings = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": API_KEY}
    ended = run(*arguments, settings=settings, directory=service.directory)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def listed(service: Service) -> set[str]:
    """Return Novita's ids of the orphans that the command lists."""
    page = json.loads(command(service, "orphans", "ls", "-o", "json"))
    return {orphan["novitaId"] for orphan in page["orphans"]}


def test_a_restored_file_finds_its_newer_machines_as_orphans_to_adopt_or_delete(
    serve: Serve, own_novita: Novita
) -> None:
    service = serve(GPUKEEPER_ADOPTION_WINDOW="1")
    kept = service.running(name="kept")
    assert service.stop() == 0
    shutil.copy(service.data_dir / "gpukeeper.db", service.directory / "copy.db")
    service.start()
    adopted, by_api, deleted = (service.running(name=f"newer-{number}") for number in range(3))
    assert service.stop() == 0
    for left in service.data_dir.glob("gpukeeper.db*"):
        left.unlink()
    shutil.copy(service.directory / "copy.db", service.data_dir / "gpukeeper.db")
    service.start()

    newer = {one["novitaId"] for one in (adopted, by_api, deleted)}
    eventually(lambda: len(service.get("/api/orphans").json()["orphans"]) == 3, "the orphans")
    assert listed(service) == newer
    assert service.instance(kept["id"])["status"] == "running"
    assert service.get(f"/api/instances/{adopted['id']}").status_code == 404

    command(service, "orphans", "adopt", adopted["novitaId"])
    command(service, "orphans", "delete", "--yes", deleted["novitaId"])
    answer = service.post(f"/api/orphans/{by_api['novitaId']}/adopt")
    assert answer.status_code == 201
    assert answer.json()["novitaId"] == by_api["novitaId"]
    service.wait_for(adopted["novitaId"], "running")
    service.wait_for(deleted["novitaId"], "deleted")
    assert listed(service) == set()
    left_over = {machine.id for machine in own_novita.machines()}
    assert left_over == {kept["novitaId"], adopted["novitaId"], by_api["novitaId"]}
