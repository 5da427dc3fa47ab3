"""The images, built once, and stacks that leave nothing behind."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.deployment.stack import ROOT, SINGLE, Stack

IMAGES = {
    "GPUKEEPER_IMAGE": "gpukeeper:under-test",
    "GPUKEEPER_GATEWAY_IMAGE": "gpukeeper-gateway:under-test",
}


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Build both images and give the variables that name them."""
    for image, context in zip(IMAGES.values(), (".", "deploy/gateway"), strict=True):
        subprocess.run(["docker", "build", "--quiet", "-t", image, context], cwd=ROOT, check=True)
    return IMAGES


@pytest.fixture
def stack(images: dict[str, str]) -> Iterator[Callable[..., Stack]]:
    """Give a function that describes a stack of this test's own."""
    with describing(images) as describe:
        yield describe


@contextmanager
def describing(images: dict[str, str]) -> Iterator[Callable[..., Stack]]:
    """Give a function that describes stacks; whatever they started is removed in the end."""
    with ExitStack() as cleanup:

        def describe(**changes: Any) -> Stack:
            described = Stack(
                project=f"gpukeeper-test-{_free_port()}",
                port=_free_port(),
                simulator_port=_free_port(),
                settings=images | changes.pop("settings", {}),
                **{"files": SINGLE, **changes},
            )
            cleanup.callback(described.http.close)
            cleanup.callback(described.down, volumes=True)
            return described

        yield describe


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
