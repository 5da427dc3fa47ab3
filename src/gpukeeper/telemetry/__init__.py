"""Logging, metrics and :mod:`~gpukeeper.telemetry.tracing`: their set-up and their names."""

from gpukeeper.telemetry.logs import (
    Logger,
    configure_logging,
    get_logger,
    log_context,
    shut_down_logging,
)
from gpukeeper.telemetry.metrics import (
    EXPOSITION_TYPE,
    METRIC_LIST,
    Metrics,
    MetricSpec,
    create_metrics,
    exposition,
    show_fleet,
)

__all__ = [
    "EXPOSITION_TYPE",
    "METRIC_LIST",
    "Logger",
    "MetricSpec",
    "Metrics",
    "configure_logging",
    "create_metrics",
    "exposition",
    "get_logger",
    "log_context",
    "show_fleet",
    "shut_down_logging",
]
