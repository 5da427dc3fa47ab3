"""Run the examples of a page as a reader does, against a service that is up."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import program
from tests.e2e.program import environment
from tests.e2e.serving import API_KEY, Service

_COMMANDS = {"sh": ["bash", "-euo", "pipefail"], "python": [sys.executable]}

# An example that takes longer hangs.
_PATIENCE_SECONDS = 240


def run_page(page: str, language: str, service: Service) -> str:
    """Run all examples of a page in this language, and return what they printed."""
    settings = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": API_KEY}
    # `python3` and `gpukeeper` of a reader's shell are those of this environment.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = service.directory / f"{page}.{language}"
    script.write_text(program(page, language))
    ended = subprocess.run(
        [*_COMMANDS[language], str(script)],
        env=environment(settings) | {"PATH": programs},
        cwd=service.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
