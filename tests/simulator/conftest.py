"""What every test of the simulator may use."""

import pytest

from tests.simulator.simulator_driver import Novita


@pytest.fixture
def novita() -> Novita:
    """Return a simulator in process, with a manual clock and phases of known length."""
    return Novita()
