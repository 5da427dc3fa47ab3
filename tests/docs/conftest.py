"""A service of its own for each page: what its examples do is all that was ever done there."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import starter
from tests.e2e.novita import Novita, simulating
from tests.e2e.receiver import Receiver, receiving
from tests.e2e.serving import Service


@pytest.fixture
def novita() -> Iterator[Novita]:
    """Give a simulator for this test alone."""
    with simulating() as novita:
        yield novita


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a receiver of all webhooks."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def service(novita: Novita, receiver: Receiver, tmp_path: Path) -> Iterator[Service]:
    """Give a service with quick settings that tells ``receiver`` of everything."""
    with ExitStack() as stack:
        start = starter(stack, tmp_path, novita)
        yield start(GPUKEEPER_WEBHOOK_URL=receiver.url, GPUKEEPER_ADOPTION_WINDOW="1")
