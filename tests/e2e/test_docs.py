"""The examples of the documentation run, and every route has one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpukeeper.client import Client
from gpukeeper.simulator.console import Arrival, arrive
from tests.e2e.conftest import Serve
from tests.e2e.novita import Novita
from tests.e2e.program import environment
from tests.e2e.receiver import Receiver
from tests.e2e.serving import API_KEY, WEBHOOK_SECRET, Service
from tests.e2e.waiting import eventually

DOCS = Path(__file__).parents[2] / "docs"

# Shell examples need these two; Python is there in any case.
LANGUAGES = ["python", *(["sh"] if shutil.which("curl") and shutil.which("jq") else [])]


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced examples of a page."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S)
    assert found, f"{page} has no example in {language}"
    return found


@pytest.fixture
def documented(serve: Serve, own_novita: Novita, receiver: Receiver) -> Service:
    """Give a service with two orphans, whose webhooks are received."""
    service = serve(GPUKEEPER_WEBHOOK_URL=receiver.url, GPUKEEPER_ADOPTION_WINDOW="1")
    first = service.order(name="first")
    # Another machine of the same deployment has the same mark in its name.
    (ours,) = own_novita.machines("first-gk")
    marked = ours.order.name.rpartition("-gk")[2][:4]
    world = own_novita.simulator.world
    with world.lock:
        for word in ("aaaaaaaa", "bbbbbbbb"):
            arrive(world, Arrival(name=f"lost-gk{marked}{word}"))
    service.http.delete(f"/api/instances/{first['id']}")
    eventually(lambda: len(service.get("/api/orphans").json()["orphans"]) == 2, "the orphans")
    return service


def run(script: str, language: str, service: Service, directory: Path) -> None:
    """Run the examples of one page, one after the other."""
    program = {"python": [sys.executable, "-"], "sh": ["sh", "-eu", "-s"]}[language]
    settings = {"GPUKEEPER_URL": service.url, "GPUKEEPER_API_KEY": API_KEY}
    ended = subprocess.run(
        program,
        input=script,
        env=environment(settings),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_examples_of_the_api_run(documented: Service, tmp_path: Path, language: str) -> None:
    run("\n".join(blocks("api.md", language)), language, documented, tmp_path)
    names = [each["name"] for each in documented.get("/api/instances").json()["instances"]]
    assert names.count("lost") == 2, "both orphans were taken in, one of them to be deleted"
    assert len(names) == len(set(names)) + 1


def test_the_examples_of_the_python_client_run(documented: Service, tmp_path: Path) -> None:
    run("\n".join(blocks("python.md", "python")), "python", documented, tmp_path)
    page = documented.get("/api/instances?name=notebook").json()
    assert [each["status"] for each in page["instances"]] == ["deleted"]


def test_every_route_has_an_example_in_both_languages() -> None:
    text = (DOCS / "api.md").read_text()
    document = json.loads((DOCS / "openapi.json").read_text())
    shell, python = "\n".join(blocks("api.md", "sh")), "\n".join(blocks("api.md", "python"))
    missing = []
    for path, operations in document["paths"].items():
        # Instead of an id there is a variable, or a command that finds it.
        pattern = re.sub(r"\\{\w+\\}", r'(?:\$\([^)]*\)|[^/ "]+)', re.escape(path))
        is_called = re.search(rf'{pattern}(?=["? ]|$)', shell, re.MULTILINE)
        for method in map(str.upper, operations):
            if not is_called or f"`{method} {path}`" not in text:
                missing.append(f"{method} {path}")
    assert missing == []
    used = set(re.findall(r"client\.(\w+)\(", python))
    offered = {name for name in vars(Client) if not name.startswith("_")}
    assert offered - used == {"close"}


VERIFIERS = {
    "python": (
        "python",
        "verify.py",
        """
import json, sys
headers, body, secret = json.load(open("headers.json")), open("body", "rb").read(), sys.argv[1]
sys.exit(0 if is_genuine(secret, headers, body) else 1)
""",
        [sys.executable, "verify.py"],
    ),
    "node": (
        "js",
        "verify.mjs",
        """
import { readFileSync } from "node:fs";
const headers = JSON.parse(readFileSync("headers.json"));
process.exit(isGenuine(process.argv[2], headers, readFileSync("body")) ? 0 : 1);
""",
        ["node", "verify.mjs"],
    ),
    "go": (
        "go",
        "verify_test.go",
        """
func TestIt(t *testing.T) {
	var given map[string]string
	text, _ := os.ReadFile("headers.json")
	json.Unmarshal(text, &given)
	body, _ := os.ReadFile("body")
	header := http.Header{}
	for name, value := range given {
		header.Set(name, value)
	}
	if !IsGenuine(os.Getenv("SECRET"), header, body) {
		t.Fatal("not genuine")
	}
}
""",
        ["go", "test", "./..."],
    ),
}


@pytest.mark.parametrize(
    "language", [each for each in VERIFIERS if each == "python" or shutil.which(each)]
)
def test_the_examples_verify_a_real_webhook_and_nothing_else(
    service: Service, receiver: Receiver, tmp_path: Path, language: str
) -> None:
    fence, name, call, program = VERIFIERS[language]
    instance_id = service.running()["id"]
    hook = receiver.wait_for(instance_id, "instance.running")
    example = blocks("webhooks.md", fence)[0]
    if language == "go":
        example = example.replace("import (", 'import (\n\t"encoding/json"\n\t"os"\n\t"testing"', 1)
        (tmp_path / "go.mod").write_text("module example.com/webhook\n\ngo 1.21\n")
    (tmp_path / name).write_text(example + call)

    def is_genuine(secret: str, body: bytes, **changed: str) -> bool:
        (tmp_path / "body").write_bytes(body)
        headers = {key: value for key, value in hook.headers.items() if key.startswith("webhook-")}
        (tmp_path / "headers.json").write_text(json.dumps(headers | changed))
        arguments = [*program, secret] if language != "go" else program
        env = os.environ | {"SECRET": secret, "GOFLAGS": "-count=1"}
        ended = subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, check=False)
        assert ended.returncode in (0, 1), ended.stderr
        return ended.returncode == 0

    genuine = hook.headers["webhook-signature"]
    assert is_genuine(WEBHOOK_SECRET, hook.body)
    assert is_genuine(WEBHOOK_SECRET, hook.body, **{"webhook-signature": f"v1,x {genuine}"})
    assert not is_genuine(WEBHOOK_SECRET, hook.body + b" ")
    assert not is_genuine("whsec_" + "A" * 44, hook.body)
    assert not is_genuine(WEBHOOK_SECRET, hook.body, **{"webhook-timestamp": "1000000000"})
