"""The receiver behind ``gpukeeper webhooks listen``: what it takes, refuses and shows."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from gpukeeper.cli.webhook_receiver import (
    MAX_BODY_BYTES,
    ReceivedEvent,
    build_receiver,
    format_json,
    format_line,
)
from gpukeeper.webhooks import signing

NOW = datetime(2026, 11, 23, 5, 12, 25, tzinfo=UTC)
SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
INSTANCE = {"id": "ins_1", "name": "trainer", "status": "failed", "reason": None}
BODY: dict[str, Any] = {
    "type": "instance.failed",
    "timestamp": "2026-11-23T05:12:25.123Z",
    "data": {
        "instance": INSTANCE,
        "previousStatus": "starting",
        "error": {"code": "startup_timeout", "message": "Not running after 600 s."},
    },
}


@dataclass(slots=True)
class Listener:
    """A receiver in process, and what it showed."""

    events: list[ReceivedEvent] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def post(self, body: bytes, *, path: str = "/", sent_at: datetime = NOW) -> httpx2.Response:
        """Send a signed body."""
        signed = signing.headers([SECRET], webhook_id="evt_1", sent_at=sent_at, body=body)
        return self.send(body, signed, path=path)

    def send(self, body: bytes, headers: dict[str, str], *, path: str = "/") -> httpx2.Response:
        """Send a body with these headers."""
        app = build_receiver(
            secrets=[SECRET],
            clock=lambda: NOW,
            on_event=self.events.append,
            on_refused=self.refused.append,
        )
        return TestClient(app).post(path, content=body, headers=headers)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def test_a_signed_event_is_taken_at_any_path(listener: Listener) -> None:
    for path in ("/", "/hooks/gpu?x=1"):
        answer = listener.post(json.dumps(BODY).encode(), path=path)
        assert (answer.status_code, answer.content) == (204, b"")
    assert listener.events == [ReceivedEvent("evt_1", BODY)] * 2
    assert listener.refused == []


def test_an_unsigned_or_wrongly_signed_body_is_refused_with_the_reason(listener: Listener) -> None:
    body = json.dumps(BODY).encode()
    signed = signing.headers([SECRET], webhook_id="evt_1", sent_at=NOW, body=body)
    assert listener.send(body, {}).status_code == 401
    assert listener.send(body + b" ", signed).status_code == 401
    assert listener.post(body, sent_at=NOW - timedelta(hours=1)).status_code == 401
    assert [message.split()[0:3] for message in listener.refused] == [
        ["The", "header", "webhook-id"],
        ["No", "signature", "of"],
        ["The", "webhook", "was"],
    ]
    assert listener.events == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"{}", b'{"type": 1, "data": {}}', b'{"type": "a", "data": []}'],
)
def test_a_signed_body_that_is_no_event_is_refused(listener: Listener, body: bytes) -> None:
    assert listener.post(body).status_code == 400
    assert listener.refused == ["The body is not an event."]


def test_a_body_over_one_mebibyte_is_refused(listener: Listener) -> None:
    assert listener.post(b" " * (MAX_BODY_BYTES + 1)).status_code == 413
    assert listener.refused == ["The body is larger than 1048576 bytes."]
    filled = json.dumps(BODY).encode().ljust(MAX_BODY_BYTES)
    assert listener.post(filled).status_code == 204


def test_only_post_is_taken(listener: Listener) -> None:
    app = build_receiver(secrets=[], clock=lambda: NOW, on_event=print, on_refused=print)
    assert TestClient(app).get("/").status_code == 405


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            BODY,
            "2026-11-23T05:12:25.123Z  instance.failed              trainer (ins_1)  failed"
            "  startup_timeout: Not running after 600 s.",
        ),
        (
            {**BODY, "type": "instance.running", "data": {"instance": INSTANCE, "error": None}},
            "2026-11-23T05:12:25.123Z  instance.running             trainer (ins_1)  failed",
        ),
        (
            {
                "type": "instance.lost",
                "data": {
                    "instance": INSTANCE | {"reason": {"code": "a\x1b[2J", "message": "b\nc"}}
                },
            },
            "instance.lost                trainer (ins_1)  failed  a [2J: b c",
        ),
        ({"type": "webhook.test", "data": {}}, "webhook.test"),
        ({"type": "webhook.test", "data": {"instance": 1, "error": "x"}}, "webhook.test"),
    ],
)
def test_an_event_is_shown_on_one_line(body: dict[str, Any], line: str) -> None:
    assert format_line(ReceivedEvent("evt_1", body)) == line


def test_an_event_is_one_json_object_on_one_line() -> None:
    line = format_json(ReceivedEvent("evt_1", BODY | {"note": "a\nb\u2028"}))
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"id": "evt_1", **BODY, "note": "a\nb\u2028"}


PROGRAM = """
from datetime import UTC, datetime
from pydantic import SecretStr
from gpukeeper.cli.webhook_receiver import build_receiver, format_line, run_receiver

app = build_receiver(
    secrets=[SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    clock=lambda: datetime.now(UTC),
    on_event=lambda event: print(format_line(event), flush=True),
    on_refused=lambda message: print("refused:", message, flush=True),
)
run_receiver(app, host=HOST, port=0, on_listening=lambda url: print(url, flush=True))
print("done", flush=True)
"""


def test_it_serves_until_it_is_interrupted_and_prints_nothing_else() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"HOST = '127.0.0.1'\n{PROGRAM}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        assert program.stdout
        url = program.stdout.readline().strip()
        body = json.dumps(BODY).encode()
        signed = signing.headers([SECRET], webhook_id="evt_1", sent_at=datetime.now(UTC), body=body)
        assert httpx2.post(url, content=body, headers=signed).status_code == 204
        assert httpx2.post(url, content=body).status_code == 401
        program.send_signal(signal.SIGINT)
        shown, _ = program.communicate(timeout=10)
    assert program.returncode == 0
    assert url.startswith("http://127.0.0.1:")
    assert shown.splitlines() == [
        format_line(ReceivedEvent("evt_1", BODY)),
        "refused: The header webhook-id is missing.",
        "done",
    ]
