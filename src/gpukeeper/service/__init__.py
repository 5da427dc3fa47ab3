"""The use cases that the HTTP API, the dashboard and the CLI share."""

from gpukeeper.service.failing import OrderFailed, OrderRefused
from gpukeeper.service.health import Census, Health, Queues
from gpukeeper.service.service import Service
from gpukeeper.service.views import DeliveryView, Page, View

__all__ = [
    "Census",
    "DeliveryView",
    "Health",
    "OrderFailed",
    "OrderRefused",
    "Page",
    "Queues",
    "Service",
    "View",
]
