"""Schemathesis holds the real service against its OpenAPI document, with all of its checks."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import Serve
from tests.e2e.program import environment
from tests.e2e.serving import API_KEY

# Examples per operation; `make fuzz` asks for more.
EXAMPLES = os.environ.get("GPUKEEPER_TEST_FUZZ_EXAMPLES", "20")

ROOT = Path(__file__).parents[2]

# Nothing listens on the discard port, and a delivery to it is tried once.
HOOK = {"GPUKEEPER_WEBHOOK_URL": "http://127.0.0.1:9/hook", "GPUKEEPER_WEBHOOK_RETRIES": "0"}
# The hooks send each request from an address of its own, as a proxy would.
PROXY = {"GPUKEEPER_TRUSTED_PROXIES": "127.0.0.1"}


def test_the_service_is_what_its_openapi_document_says(serve: Serve, tmp_path: Path) -> None:
    service = serve(GPUKEEPER_NOVITA_RETRIES="0", **HOOK, **PROXY)
    for number in range(3):
        service.running(name=f"known-{number}")

    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(ROOT / "tests/e2e/schemathesis.toml")),
            *("run", f"{service.url}/openapi.json", "--header", f"Authorization: Bearer {API_KEY}"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing"),
            *("--max-examples", EXAMPLES, "--seed", "1", "--continue-on-failure", "--no-color"),
        ],
        env=environment({"PYTHONPATH": str(ROOT)}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    total = re.search(r"Operations: +(\d+) selected / (\d+) total", done.stdout)
    assert total is not None
    # All but the stream of events.
    assert int(total[1]) == int(total[2]) - 1 > 20
