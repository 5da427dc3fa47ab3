"""Prometheus itself judges the rules that are shipped for it."""

import subprocess
from pathlib import Path

from tests.deployment.stack import ROOT

_MONITORING = ROOT / "deploy" / "monitoring"


def test_promtool_accepts_the_alert_rules_and_their_own_tests_pass() -> None:
    checked = _promtool("check", "rules", _MONITORING / "alerts.yml")
    assert "SUCCESS" in checked
    tested = _promtool("test", "rules", _MONITORING / "alerts_test.yml")
    assert "SUCCESS" in tested


def test_promtool_accepts_the_configuration() -> None:
    checked = _promtool("check", "config", "--syntax-only", _MONITORING / "prometheus.yml")
    assert "SUCCESS" in checked


def _promtool(*arguments: str | Path) -> str:
    ended = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
