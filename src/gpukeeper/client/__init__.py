"""A typed Python client of the service's own HTTP API; the command line is built on it."""

from gpukeeper.client.answers import (
    ConnectionInfo,
    DeliveryAttemptInfo,
    DeliveryInfo,
    EventInfo,
    HealthInfo,
    InstanceInfo,
    OfferInfo,
    OrphanInfo,
    Page,
)
from gpukeeper.client.client import Client
from gpukeeper.client.problems import ApiProblem, NotRunning, ServiceUnreachable, WaitTimedOut
from gpukeeper.domain.errors import GpuKeeperError

__all__ = [
    "ApiProblem",
    "Client",
    "ConnectionInfo",
    "DeliveryAttemptInfo",
    "DeliveryInfo",
    "EventInfo",
    "GpuKeeperError",
    "HealthInfo",
    "InstanceInfo",
    "NotRunning",
    "OfferInfo",
    "OrphanInfo",
    "Page",
    "ServiceUnreachable",
    "WaitTimedOut",
]
