"""The page about webhooks: its verifications tell genuine webhooks from others.

Python is always tried.  Node and Go are tried on machines that have them: an example in a language
that is not there cannot be run, and is then no test that is skipped, but none at all.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from gpukeeper.domain.events import ANNOUNCED
from gpukeeper.webhooks import signing
from tests.docs.pages import DOCS, program
from tests.e2e.program import environment

# A compiler that has to build its library first takes its time.
_PATIENCE_SECONDS = 240

SECRET = signing.new_secret(bytes(range(32)))
OTHER_SECRET = signing.new_secret(bytes(32))

# As a body may be: with letters outside ASCII, and spaces that matter.
BODY = '{"type": "webhook.test",  "data": {"message": "Grüße"}}'.encode()


@dataclass(frozen=True, slots=True)
class Language:
    """How the example of a language is run, and the lines that feed it a webhook from stdin."""

    file: str
    command: tuple[str, ...]
    caller: str
    caller_file: str | None = None


LANGUAGES = {
    "python": Language(
        "verify.py",
        (sys.executable, "verify.py"),
        """
import json, sys
given = json.load(sys.stdin)
print(is_genuine(given["secret"], given["headers"], base64.b64decode(given["body"])))
""",
    ),
    "js": Language(
        "verify.mjs",
        ("node", "verify.mjs"),
        """
import { readFileSync } from "node:fs";
const given = JSON.parse(readFileSync(0, "utf8"));
console.log(isGenuine(given.secret, given.headers, Buffer.from(given.body, "base64")));
""",
    ),
    "go": Language(
        "verify.go",
        ("go", "run", "verify.go", "call.go"),
        """
package main

import ("encoding/json"; "fmt"; "net/http"; "os")

func main() {
	var given struct { Secret string; Headers map[string]string; Body []byte }
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil { panic(err) }
	header := http.Header{}
	for name, value := range given.Headers { header.Set(name, value) }
	fmt.Println(isGenuine(given.Secret, header, given.Body))
}
""",
        "call.go",
    ),
}
AT_HAND = [name for name, each in LANGUAGES.items() if shutil.which(each.command[0])]


@pytest.fixture(params=AT_HAND)
def language(request: pytest.FixtureRequest) -> str:
    """Give each language that this machine has."""
    name: str = request.param
    return name


def test_a_genuine_webhook_is_accepted(language: str, tmp_path: Path) -> None:
    assert verdict(language, tmp_path, signed()) == "true"


def test_either_secret_is_accepted_while_both_are_set(language: str, tmp_path: Path) -> None:
    assert verdict(language, tmp_path, signed(OTHER_SECRET, SECRET)) == "true"


def test_a_webhook_of_another_secret_is_refused(language: str, tmp_path: Path) -> None:
    assert verdict(language, tmp_path, signed(OTHER_SECRET)) == "false"


def test_a_body_that_was_changed_is_refused(language: str, tmp_path: Path) -> None:
    changed = BODY.replace(b"  ", b" ")

    assert verdict(language, tmp_path, signed(), body=changed) == "false"


def test_a_webhook_of_another_id_is_refused(language: str, tmp_path: Path) -> None:
    assert verdict(language, tmp_path, signed() | {"webhook-id": "evt_2"}) == "false"


@pytest.mark.parametrize("age", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_an_old_webhook_and_one_of_the_future_are_refused(
    language: str, age: timedelta, tmp_path: Path
) -> None:
    assert verdict(language, tmp_path, signed(age=age)) == "false"


def test_the_page_has_every_event_that_is_announced_and_no_other() -> None:
    events = re.findall(r"^\| `([\w.]+)` \|", (DOCS / "webhooks.md").read_text(), re.MULTILINE)

    assert sorted(events) == sorted(event.value for event in ANNOUNCED)


def test_the_readme_has_the_python_of_the_page() -> None:
    assert program("webhooks.md", "python").strip() in (DOCS.parent / "README.md").read_text()


def signed(*secrets: str, age: timedelta = timedelta()) -> dict[str, str]:
    """Return the headers of a webhook with ``BODY`` that was sent so long ago."""
    known = [SecretStr(secret) for secret in secrets or (SECRET,)]
    sent_at = datetime.now(UTC) - age
    return signing.headers(known, webhook_id="evt_1", sent_at=sent_at, body=BODY)


def verdict(name: str, directory: Path, headers: Mapping[str, str], *, body: bytes = BODY) -> str:
    """Return what the page's example in a language says of a webhook."""
    language, example = LANGUAGES[name], program("webhooks.md", name)
    if language.caller_file:
        (directory / language.file).write_text(example)
        (directory / language.caller_file).write_text(language.caller)
    else:
        (directory / language.file).write_text(example + language.caller)
    webhook = {
        "secret": SECRET,
        "headers": dict(headers),
        "body": base64.b64encode(body).decode(),
    }
    ended = subprocess.run(
        language.command,
        env=environment({}),
        cwd=directory,
        input=json.dumps(webhook),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip().lower()
