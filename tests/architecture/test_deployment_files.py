"""The files for operators name settings, metrics and pages that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gpukeeper.config import variables
from gpukeeper.telemetry import METRIC_LIST

# What is the image's own: where the service listens and writes in its container.
_SET_BY_THE_IMAGE = {"GPUKEEPER_HOST", "GPUKEEPER_PORT", "GPUKEEPER_DATA_DIR"}
# What Prometheus adds to a metric's name for the parts of a histogram.
_PART = re.compile(r"_(bucket|sum|count)$")


def test_compose_hands_on_every_setting(root: Path) -> None:
    handed_on = set(re.findall(r"^    - ((?:GPUKEEPER|NOVITA)_\w+)$", _compose(root), re.MULTILINE))
    settings = {variable.name for variable in variables()}
    files = {f"{variable.name}_FILE" for variable in variables() if variable.is_secret}
    assert handed_on == (settings | files) - _SET_BY_THE_IMAGE


@pytest.mark.parametrize(
    ("said", "trusted"),
    [
        ({"TRUSTED_BY_DEFAULT": "gateway"}, "172.18.0.1"),
        ({"TRUSTED_BY_DEFAULT": "network"}, "172.18.0.0/255.255.0.0"),
        ({"TRUSTED_BY_DEFAULT": "gateway", "GPUKEEPER_TRUSTED_PROXIES": ""}, ""),
        ({"TRUSTED_BY_DEFAULT": "gateway", "GPUKEEPER_TRUSTED_PROXIES": "192.0.2.1"}, "192.0.2.1"),
        ({}, ""),
    ],
)
def test_compose_trusts_the_gateway_of_its_own_network_unless_told_otherwise(
    root: Path, tmp_path: Path, said: dict[str, str], trusted: str
) -> None:
    columns = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    ways_out = "eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\n"
    neighbours = "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n"
    (tmp_path / "routes").write_text(columns + ways_out + neighbours)
    program = tmp_path / "gpukeeper"
    program.write_text('#!/bin/sh\nprintf %s "${GPUKEEPER_TRUSTED_PROXIES:-}"\n')
    program.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    started = subprocess.run(
        ["/bin/sh", root / "deploy" / "start.sh"],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "NOVITA_API_KEY": "sk",
            "ROUTES": str(tmp_path / "routes"),
            **said,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout == trusted
    given = [(root / name).read_text() for name in ("compose.yaml", "compose.scale.yaml")]
    assert "- TRUSTED_BY_DEFAULT=gateway" in given[0]
    assert "TRUSTED_BY_DEFAULT: network" in given[1]


def test_the_example_of_the_settings_names_what_compose_asks_for(root: Path) -> None:
    texts = [(root / name).read_text() for name in ("compose.yaml", "compose.scale.yaml")]
    asked = {name for text in texts for name in re.findall(r"\$\{(\w+_PASSWORD)[:}]", text)}
    asked |= set(re.findall(r"environment: (\w+_KEY)$", texts[0], re.MULTILINE))
    example = (root / ".env.example").read_text()
    assert asked == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "METRICS_API_KEY"}
    assert {name for name in asked if f"#{name}=\n" not in example} == set()


def test_no_password_of_compose_has_a_value_that_everybody_knows(root: Path) -> None:
    for name in ("compose.yaml", "compose.scale.yaml"):
        assert not re.search(r"\$\{\w+_PASSWORD:-[^}]", (root / name).read_text())


def test_no_service_of_compose_takes_as_much_memory_as_it_likes(root: Path) -> None:
    single = _services(_compose(root))
    # What one file says of a service is said for the other, too; a replica is a `gpukeeper`.
    added = _services((root / "compose.scale.yaml").read_text())
    everything = added | {name: text + added.get(name, "") for name, text in single.items()}
    bounds = ("memory:", "deploy: *limits", "<<: *replica")
    assert {"migrate", "postgres", "gateway"} <= everything.keys()
    assert [name for name, text in everything.items() if not any(b in text for b in bounds)] == []


def test_the_image_sets_what_compose_does_not(root: Path) -> None:
    dockerfile = (root / "Dockerfile").read_text()
    for name in _SET_BY_THE_IMAGE:
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


def _services(compose: str) -> dict[str, str]:
    """Return what a file of Compose says of each service."""
    services = re.split(r"^services:$", compose, flags=re.MULTILINE)[1]
    services = re.split(r"^\w+:$", services, flags=re.MULTILINE)[0]
    parts = re.split(r"^  (\w+):$", services, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
