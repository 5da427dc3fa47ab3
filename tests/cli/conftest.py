"""What the tests of the command line share."""

import pytest

from tests.cli.program import Program


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return the program with a service that answers by script."""
    return Program(monkeypatch)
