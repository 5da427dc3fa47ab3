"""The names of the metrics, and what Prometheus reads."""

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from gpukeeper.telemetry import METRIC_LIST, MetricSpec, create_metrics, exposition


def test_every_metric_of_the_program_is_listed_and_no_other() -> None:
    families = {
        family.name
        for family in create_metrics().registry.collect()
        if family.name.startswith("gpukeeper")
    }

    assert families == {spec.name.removesuffix("_total") for spec in METRIC_LIST}


@pytest.mark.parametrize("spec", METRIC_LIST, ids=lambda spec: spec.name)
def test_a_name_keeps_to_the_conventions_of_prometheus(spec: MetricSpec) -> None:
    assert re.fullmatch("gpukeeper(_[a-z]+)+", spec.name)
    assert spec.name.endswith("_total") == (spec.kind == "counter")
    assert spec.kind != "histogram" or spec.name.endswith("_seconds")
    assert spec.sentence.endswith(".")
    assert all(re.fullmatch("[a-z_]+", label) for label in spec.labels)


def test_what_is_counted_is_exposed() -> None:
    metrics = create_metrics()
    for spec in METRIC_LIST:
        metric = getattr(metrics, spec.attribute)
        labelled = metric.labels(*spec.labels) if spec.labels else metric
        if isinstance(metric, Histogram):
            labelled.observe(1)
        elif isinstance(metric, Counter):
            labelled.inc()
        else:
            assert isinstance(metric, Gauge)
            labelled.set(2)

    text = exposition(metrics).decode()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    for spec in METRIC_LIST:
        family = families[spec.name.removesuffix("_total")]
        assert family.type == spec.kind
        assert set(family.samples[0].labels) - {"le"} == set(spec.labels)
    assert "_created" not in text


def test_each_set_of_metrics_counts_for_itself() -> None:
    one, other = create_metrics(), create_metrics()

    one.orders.labels("accepted").inc()

    assert b'gpukeeper_orders_total{outcome="accepted"} 1.0' in exposition(one)
    assert b'gpukeeper_orders_total{outcome="accepted"} 0.0' in exposition(other)


def test_the_process_is_measured_too() -> None:
    assert b"process_cpu_seconds_total" in exposition(create_metrics())


def test_what_alerts_wait_for_is_there_at_0_from_the_start() -> None:
    registry = create_metrics().registry
    for name, label, value in (
        ("gpukeeper_orders_total", "outcome", "accepted"),
        ("gpukeeper_looks_total", "result", "complete"),
        ("gpukeeper_webhook_attempts_total", "outcome", "exhausted"),
        ("gpukeeper_unhandled_errors_total", "where", "reconcile"),
    ):
        assert registry.get_sample_value(name, {label: value}) == 0
