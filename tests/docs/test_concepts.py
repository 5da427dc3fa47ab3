"""The page about concepts: its diagram and its table are those of the program."""

import re

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command, Status
from gpukeeper.domain.lifecycle.commands import request_command
from tests.docs.pages import DOCS, examples
from tests.domain.builders import NOW, instance


def test_the_diagram_has_every_status_and_no_other() -> None:
    (diagram,) = examples("concepts.md", "mermaid")
    origins = re.findall(r"^    (\w+) -->", diagram, re.MULTILINE)
    ends = re.findall(r"--> (\w+)", diagram)

    assert {*origins, *ends} == {status.value for status in Status}


def test_the_table_of_verbs_says_what_the_program_allows() -> None:
    rows = re.findall(r"^\| (\w+) \| (`.+`|every.*) \|$", page(), re.MULTILINE)
    told = {verb: set(re.findall(r"`(\w+)`", statuses)) or set(Status) for verb, statuses in rows}

    # What is only ordered has no machine yet, whatever the verb.
    statuses = sorted(set(Status) - {Status.REQUESTED})
    for verb in Command:
        allowed = {status for status in statuses if is_taken(status, verb)}
        assert told[verb] - {Status.REQUESTED} == allowed, verb


def page() -> str:
    """Return the page's text."""
    return (DOCS / "concepts.md").read_text()


def is_taken(status: Status, verb: Command) -> bool:
    """Whether the verb is allowed in this status."""
    try:
        request_command(instance(status), verb, NOW)
    except WrongStatus:
        return False
    return True
