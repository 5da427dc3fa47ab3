"""The real process against the simulator, and a receiver of its webhooks.

One service with quick settings is shared by all tests of a session, and its Novita is cleaned up
after each.  A test that needs other settings, or ends its service, starts one of its own on a
Novita of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.novita import Novita, simulating
from tests.e2e.receiver import Receiver, accept, receiving
from tests.e2e.serving import QUICK, Service

Serve = Callable[..., Service]


@pytest.fixture(scope="session")
def simulated_novita() -> Iterator[Novita]:
    """Give the one simulator of the session."""
    with simulating() as novita:
        yield novita


@pytest.fixture
def novita(simulated_novita: Novita) -> Iterator[Novita]:
    """Give the simulator, and undo what the test does to it."""
    yield simulated_novita
    simulated_novita.clean_up()


@pytest.fixture(scope="session")
def listening_receiver() -> Iterator[Receiver]:
    """Give the one receiver of the session."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(listening_receiver: Receiver) -> Iterator[Receiver]:
    """Give the receiver of all webhooks, and undo what the test does to it."""
    yield listening_receiver
    listening_receiver.answer = accept


@pytest.fixture(scope="session")
def service(
    simulated_novita: Novita,
    listening_receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """Give the service that the session shares; it repeats no question to Novita."""
    with ExitStack() as stack:
        start = starter(stack, tmp_path_factory.mktemp("shared"), simulated_novita)
        yield start(GPUKEEPER_NOVITA_RETRIES="0", GPUKEEPER_WEBHOOK_URL=listening_receiver.url)


@pytest.fixture
def own_novita() -> Iterator[Novita]:
    """Give a simulator for this test alone."""
    with simulating() as novita:
        yield novita


@pytest.fixture
def serve(own_novita: Novita, tmp_path: Path) -> Iterator[Serve]:
    """Give a function that starts a service on ``own_novita`` with these settings changed."""
    with ExitStack() as stack:
        yield starter(stack, tmp_path, own_novita)


def starter(stack: ExitStack, directory: Path, novita: Novita) -> Serve:
    """Return a function that starts a service in ``directory`` and leaves its end to ``stack``."""

    def start(**settings: str) -> Service:
        service = Service(directory, QUICK | {"NOVITA_BASE_URL": novita.url} | settings)
        stack.callback(service.close)
        service.start()
        return service

    return start
