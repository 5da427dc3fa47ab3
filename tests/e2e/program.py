"""Run the program as an operator does: ``python -m gpukeeper`` with settings in the environment."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-m", "gpukeeper")
ROOT = Path(__file__).parents[2]

# A command that takes longer hangs.
_PATIENCE_SECONDS = 90

_OURS = ("GPUKEEPER_", "NOVITA_")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these settings and no others of gpukeeper's.

    A proxy that is configured on this machine is not for loopback.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OURS) and not name.lower().endswith("_proxy")
    }
    return {**inherited, **settings}


def run(
    *arguments: str,
    settings: Mapping[str, str],
    directory: Path,
    command: Sequence[str] = COMMAND,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; ``directory`` is where it runs, so that no ``.env`` is near."""
    return subprocess.run(
        [*command, *arguments],
        env=environment(settings),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )
