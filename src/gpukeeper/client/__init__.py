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
    RegionInfo,
    TemplateInfo,
)
from gpukeeper.client.api_client import Client
from gpukeeper.client.problems import (
    AmbiguousName,
    ApiProblem,
    InvalidArgument,
    NotRunning,
    ServiceUnreachable,
    WaitTimedOut,
)
from gpukeeper.domain.errors import GpuKeeperError

__all__ = [
    "AmbiguousName",
    "ApiProblem",
    "Client",
    "ConnectionInfo",
    "DeliveryAttemptInfo",
    "DeliveryInfo",
    "EventInfo",
    "GpuKeeperError",
    "HealthInfo",
    "InstanceInfo",
    "InvalidArgument",
    "NotRunning",
    "OfferInfo",
    "OrphanInfo",
    "Page",
    "RegionInfo",
    "ServiceUnreachable",
    "TemplateInfo",
    "WaitTimedOut",
]
