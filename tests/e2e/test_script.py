"""A shell script that knows only the documented commands goes from an order to its deletion."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.program import environment
from tests.e2e.serving import API_KEY, Service

SCRIPT = Path(__file__).with_name("order_to_delete.sh")


def test_a_script_goes_from_order_to_delete(service: Service, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    settings = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": API_KEY}
    ended = subprocess.run(
        [str(SCRIPT)],
        env=environment(settings) | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    instance_id = ended.stdout.split()[-1]
    # A machine may be up before anyone has seen it starting.
    assert [each for each in service.history(instance_id) if each != "starting"] == [
        *("requested", "created", "running", "running"),
        *("stopping", "stopped", "running", "deleting", "deleted"),
    ]


def test_the_script_uses_documented_commands_only() -> None:
    documented = (SCRIPT.parents[2] / "docs/cli.md").read_text()
    used = re.findall(r"gpukeeper ((?:webhooks |deliveries |orphans )?[a-z]+)", SCRIPT.read_text())
    assert used
    for command in used:
        assert f"## `gpukeeper {command}`" in documented, command
