"""The page about the Python client: its program does what the page says."""

from tests.docs.running import run_page
from tests.e2e.novita import Novita
from tests.e2e.serving import Service


def test_the_program_of_the_page_meets_every_error_and_leaves_no_machine(
    service: Service, novita: Novita
) -> None:
    said = run_page("python.md", "python", service).splitlines()

    # In the order of the page: bought, stopped, deleted, and the four things that go wrong.
    assert said[0].startswith("running 0.175 ['https://")
    assert "stopped exited" in said
    assert sum("instance.deleted" in line for line in said) == 1
    assert "['trainer'] of 1" in said
    assert any(line.startswith("409 price_above_limit ") for line in said)
    assert any(line.endswith(" False") and "127.0.0.1:1" in line for line in said)
    assert said[-1] == "instance_not_found"
    (broken,) = service.get("/api/instances?name=broken").json()["instances"]
    service.wait_for(broken["id"], "deleted")
    failure = next(line for line in said if "broken" in line)
    assert broken["id"] in failure
    assert novita.machines() == []
