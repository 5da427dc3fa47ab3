"""The files for operators name settings, metrics and pages that exist."""

import json
import re
from pathlib import Path

from gpukeeper.config import variables
from gpukeeper.telemetry import METRIC_LIST

# What the image or compose.scale.yaml sets itself.
_SET_BY_THE_IMAGE = {
    "GPUKEEPER_HOST",
    "GPUKEEPER_PORT",
    "GPUKEEPER_DATA_DIR",
    "GPUKEEPER_LOG_FORMAT",
    "GPUKEEPER_DATABASE_URL",
}
# What Prometheus adds to a metric's name for the parts of a histogram.
_PART = re.compile(r"_(bucket|sum|count)$")


def test_compose_hands_on_every_setting(root: Path) -> None:
    handed_on = set(re.findall(r"^    - ((?:GPUKEEPER|NOVITA)_\w+)$", _compose(root), re.MULTILINE))
    assert handed_on == {variable.name for variable in variables()} - _SET_BY_THE_IMAGE


def test_the_image_sets_what_compose_does_not(root: Path) -> None:
    dockerfile = (root / "Dockerfile").read_text()
    for name in _SET_BY_THE_IMAGE - {"GPUKEEPER_DATABASE_URL"}:
        assert f"{name}=" in dockerfile


def test_alerts_and_dashboard_ask_for_metrics_that_exist(root: Path) -> None:
    known = {metric.name for metric in METRIC_LIST}
    folder = root / "deploy" / "monitoring"
    texts = [(folder / "alerts.yml").read_text(), (folder / "grafana/gpukeeper.json").read_text()]
    asked = {_PART.sub("", name) for text in texts for name in re.findall(r"gpukeeper_\w+", text)}
    assert asked <= known
    assert {name for name in known if name not in asked} == set()


def test_every_panel_of_the_dashboard_has_a_place_of_its_own(root: Path) -> None:
    dashboard = json.loads((root / "deploy/monitoring/grafana/gpukeeper.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_every_alert_leads_to_a_part_of_the_runbook(root: Path) -> None:
    alerts = (root / "deploy/monitoring/alerts.yml").read_text()
    headings = re.findall(r"^#+ (.*)$", (root / "docs/operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    led_to = re.findall(r"runbook: docs/operations\.md#(\S+)", alerts)
    assert len(led_to) == alerts.count("alert:")
    assert set(led_to) <= anchors


def _compose(root: Path) -> str:
    return (root / "compose.yaml").read_text()
