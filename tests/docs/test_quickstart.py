"""The quickstart: its commands work, and what it shows exists."""

import re

from tests.docs.pages import DOCS
from tests.docs.running import run_page
from tests.e2e.novita import Novita
from tests.e2e.receiver import Receiver
from tests.e2e.serving import Service


def test_its_commands_go_from_an_order_to_its_deletion(
    service: Service, novita: Novita, receiver: Receiver
) -> None:
    said = run_page("quickstart.md", "sh", service)

    (trainer,) = service.get("/api/instances").json()["instances"]
    assert (trainer["name"], trainer["status"]) == ("trainer", "deleted")
    assert trainer["id"] in said
    assert receiver.wait_for(trainer["id"], "instance.deleted").json["data"]["error"] is None
    assert novita.machines() == []


def test_it_shows_pictures_that_exist() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (DOCS / "quickstart.md").read_text())

    assert pictures
    assert [picture for picture in pictures if not (DOCS / picture).is_file()] == []
