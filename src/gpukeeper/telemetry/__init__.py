"""Logging, metrics and traces: their set-up and every name in the first two."""

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
from gpukeeper.telemetry.traces import OFF, Attributes, Side, Span, Traces, open_traces, server_of

__all__ = [
    "EXPOSITION_TYPE",
    "METRIC_LIST",
    "OFF",
    "Attributes",
    "Logger",
    "MetricSpec",
    "Metrics",
    "Side",
    "Span",
    "Traces",
    "configure_logging",
    "create_metrics",
    "exposition",
    "get_logger",
    "log_context",
    "open_traces",
    "server_of",
    "show_fleet",
    "shut_down_logging",
]
