"""A typed Python client of the service's own HTTP API; the command line is built on it."""

from gpukeeper.client.api_client import Client
from gpukeeper.client.events import EventInfo
from gpukeeper.client.page import Page
from gpukeeper.client.problems import (
    AmbiguousName,
    ApiProblem,
    InvalidArgument,
    NotRunning,
    ServiceUnreachable,
    WaitTimedOut,
)
from gpukeeper.contract.deliveries import Delivery as DeliveryInfo
from gpukeeper.contract.deliveries import DeliveryAttempt as DeliveryAttemptInfo
from gpukeeper.contract.health import Health as HealthInfo
from gpukeeper.contract.instances import Connection as ConnectionInfo
from gpukeeper.contract.instances import Instance as InstanceInfo
from gpukeeper.contract.offers import Offer as OfferInfo
from gpukeeper.contract.offers import Region as RegionInfo
from gpukeeper.contract.offers import Template as TemplateInfo
from gpukeeper.contract.orphans import Orphan as OrphanInfo
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
