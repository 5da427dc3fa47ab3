"""The outside world, as far as the service asks it: a test replaces this and nothing else."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gpukeeper.novita.client import Connect
from gpukeeper.reporter import Reporter
from gpukeeper.runtime.trusted_clock import read_steady_clock
from gpukeeper.webhooks.sender import Sender


def read_clock() -> datetime:
    """Return the time; the one place where the service reads the clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outside:
    """The clocks, chance, and the ways to Novita, to receivers of webhooks and to operators.

    ``steady`` returns seconds that never jump, and ``may_jump`` says whether ``clock`` may.
    ``draw`` returns numbers from [0, 1).  ``connect`` makes what carries requests to Novita, and
    ``sender`` sends webhooks, each in the place of the network.
    """

    clock: Callable[[], datetime] = read_clock
    steady: Callable[[], float] = read_steady_clock
    may_jump: bool = True
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    connect: Connect | None = None
    sender: Sender | None = None
    reporter: Callable[..., Reporter] = Reporter
