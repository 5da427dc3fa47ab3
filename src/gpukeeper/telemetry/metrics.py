"""Every metric of the program: its name, its labels and what it tells."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.process_collector import ProcessCollector

from gpukeeper.domain.wakeups import LoopName

EXPOSITION_TYPE = CONTENT_TYPE_PLAIN_0_0_4

# From a machine whose image is there already to one whose start has failed by any setting.
_STARTUP_BUCKETS_SECONDS = (10, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1800, 3600)

# From our own answers (milliseconds) to Novita's slowest and the wait for an order's (20 s).
_CALL_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)

# From at once to after the last retry of a receiver that was down for long.
_LAG_BUCKETS_SECONDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 300, 1800, 7200)


@dataclass(frozen=True, slots=True)
class Description:
    """How a metric is called, what it tells, and by what it is told apart.

    ``shown`` are values of its one label that are there at 0 from the start: to Prometheus a
    series that begins at 1 has not increased, and no alert would tell of the first.
    """

    name: str
    sentence: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one process; times are observed in seconds, money is set in USD."""

    registry: CollectorRegistry
    orders: Annotated[
        Counter,
        Description(
            "gpukeeper_orders_total",
            "Orders by outcome: accepted, or the code of what stood in the way.",
            labels=("outcome",),
            shown=("accepted",),
        ),
    ]
    instances: Annotated[
        Gauge,
        Description("gpukeeper_instances", "Instances in the store by status.", labels=("status",)),
    ]
    time_to_running: Annotated[
        Histogram,
        Description(
            "gpukeeper_time_to_running_seconds",
            "Seconds from an order to its instance's running.",
            buckets=_STARTUP_BUCKETS_SECONDS,
        ),
    ]
    hourly_spend: Annotated[
        Gauge,
        Description(
            "gpukeeper_hourly_spend_usd",
            "US dollars per hour of every machine that Novita bills, orphans included: GPUs that "
            "are on, and disk above 60 GB.",
        ),
    ]
    prices_above_limit: Annotated[
        Counter,
        Description(
            "gpukeeper_price_above_limit_total",
            "Machines whose price, as Novita shows it, rose above their order's limit.",
        ),
    ]
    orphans: Annotated[
        Gauge,
        Description(
            "gpukeeper_orphans",
            "Machines at Novita that the store does not know, with our mark, or with another and "
            "older than the store.",
        ),
    ]
    vanished: Annotated[
        Gauge,
        Description(
            "gpukeeper_vanished_machines",
            "Machines that were missing from a listing that lacked most of the fleet, so that "
            "nothing was concluded from it; an alarm while it is above 0.",
        ),
    ]
    novita_calls: Annotated[
        Counter,
        Description(
            "gpukeeper_novita_calls_total",
            "Calls to Novita by route and outcome: ok, or the name of the error.",
            labels=("route", "outcome"),
        ),
    ]
    novita_call_duration: Annotated[
        Histogram,
        Description(
            "gpukeeper_novita_call_duration_seconds",
            "Seconds until Novita answered, without the wait for pacing.",
            labels=("route",),
            buckets=_CALL_BUCKETS_SECONDS,
        ),
    ]
    clock_ahead: Annotated[
        Gauge,
        Description(
            "gpukeeper_clock_ahead_seconds",
            "How far the clock has jumped ahead, as long as that is not confirmed; 0 while it is "
            "believed.",
        ),
    ]
    novita_rate: Annotated[
        Gauge,
        Description(
            "gpukeeper_novita_rate",
            "Calls a second to Novita that pacing lets through now; less than "
            "`GPUKEEPER_NOVITA_RATE` after a complaint of Novita's.",
        ),
    ]
    novita_paced: Annotated[
        Counter,
        Description(
            "gpukeeper_novita_paced_seconds_total",
            "Seconds that calls to Novita were held back by pacing before they were made.",
        ),
    ]
    looks: Annotated[
        Counter,
        Description(
            "gpukeeper_looks_total",
            "Looks at the whole fleet by result: complete, incomplete, doubted or failed.",
            labels=("result",),
            shown=("complete", "incomplete", "doubted", "failed"),
        ),
    ]
    look_duration: Annotated[
        Histogram,
        Description(
            "gpukeeper_look_duration_seconds",
            "Seconds that a look at the whole fleet took.",
            buckets=_CALL_BUCKETS_SECONDS,
        ),
    ]
    webhook_attempts: Annotated[
        Counter,
        Description(
            "gpukeeper_webhook_attempts_total",
            "Attempts to deliver a webhook by outcome: delivered, failed, exhausted or ended.",
            labels=("outcome",),
            shown=("delivered", "failed", "exhausted", "ended"),
        ),
    ]
    deliveries_pending: Annotated[
        Gauge,
        Description("gpukeeper_deliveries_pending", "Webhook deliveries that are not over."),
    ]
    oldest_due: Annotated[
        Gauge,
        Description(
            "gpukeeper_oldest_due_seconds",
            "Age of the oldest due row that nobody works on, by queue: instances or deliveries.",
            labels=("queue",),
        ),
    ]
    webhook_lag: Annotated[
        Histogram,
        Description(
            "gpukeeper_webhook_lag_seconds",
            "Seconds from an event to its successful delivery.",
            buckets=_LAG_BUCKETS_SECONDS,
        ),
    ]
    removed: Annotated[
        Counter,
        Description(
            "gpukeeper_removed_total",
            "Rows removed because they were older than `GPUKEEPER_RETENTION`, by table: events, "
            "deliveries or attempts.",
            labels=("table",),
        ),
    ]
    http_requests: Annotated[
        Counter,
        Description(
            "gpukeeper_http_requests_total",
            "Requests to this service by method, route and status.",
            labels=("method", "route", "status"),
        ),
    ]
    http_request_duration: Annotated[
        Histogram,
        Description(
            "gpukeeper_http_request_duration_seconds",
            "Seconds until a request to this service was answered.",
            labels=("method", "route"),
            buckets=_CALL_BUCKETS_SECONDS,
        ),
    ]
    altered_names: Annotated[
        Counter,
        Description(
            "gpukeeper_altered_names_total",
            "Machines whose name is not the one that was sent: known ones, and suspected ones that "
            "hold back an order.",
            labels=("kind",),
            shown=("known", "suspected"),
        ),
    ]
    unhandled_errors: Annotated[
        Counter,
        Description(
            "gpukeeper_unhandled_errors_total",
            "Faults of our own, logged with a traceback, by the part that they happened in.",
            labels=("where",),
            shown=("api", *LoopName),
        ),
    ]
    loop_heartbeat: Annotated[
        Gauge,
        Description(
            "gpukeeper_loop_heartbeat_timestamp_seconds",
            "Unix time at which a background loop last turned; its age is time() minus this.",
            labels=("loop",),
        ),
    ]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric as the documentation lists it; ``attribute`` is its name in :class:`Metrics`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    sentence: str
    attribute: str


def create_metrics() -> Metrics:
    """Return new metrics in a registry of their own, with those of the process itself."""
    # A time of creation for each and every series tells nothing that is worth its bytes.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not annotate it
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    built = {attribute: _build(metric, named, registry) for attribute, metric, named in _declared()}
    return Metrics(registry=registry, **built)


def show_fleet(
    metrics: Metrics,
    *,
    by_status: Mapping[str, int],
    spend_usd_per_hour: float,
    orphans: int,
    vanished: int,
    deliveries_pending: int,
    oldest_due_seconds: Mapping[str, float],
) -> None:
    """Set what is counted rather than observed; a status without instances shows 0."""
    for status, count in by_status.items():
        metrics.instances.labels(status).set(count)
    metrics.hourly_spend.set(spend_usd_per_hour)
    metrics.orphans.set(orphans)
    metrics.vanished.set(vanished)
    metrics.deliveries_pending.set(deliveries_pending)
    for queue, seconds in oldest_due_seconds.items():
        metrics.oldest_due.labels(queue).set(seconds)


def exposition(metrics: Metrics) -> bytes:
    """Return the metrics as Prometheus text, to be sent as :data:`EXPOSITION_TYPE`."""
    return generate_latest(metrics.registry)


def _build(metric: type, named: Description, registry: CollectorRegistry) -> Any:
    buckets = {"buckets": named.buckets} if named.buckets else {}
    built = metric(named.name, named.sentence, named.labels, registry=registry, **buckets)
    for value in named.shown:
        built.labels(value)
    return built


def _declared() -> Iterator[tuple[str, type, Description]]:
    for attribute, hint in get_type_hints(Metrics, include_extras=True).items():
        if get_origin(hint) is Annotated:
            metric, named = get_args(hint)
            yield attribute, metric, named


METRIC_LIST = tuple(
    MetricSpec(named.name, metric.__name__.lower(), named.labels, named.sentence, attribute)
    for attribute, metric, named in _declared()
)
