"""Receive webhooks on this machine and show each as one line (``gpukeeper webhooks listen``)."""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gpukeeper.cli.terminal.output import format_event
from gpukeeper.webhooks import signing

# What our own API takes (contract §4.4); a webhook is a hundredth of it.
MAX_BODY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A webhook whose signature is good; ``body`` is its JSON (contract §5)."""

    webhook_id: str
    body: Mapping[str, Any]


def build_receiver(
    *,
    secrets: Sequence[SecretStr],
    clock: Callable[[], datetime],
    on_event: Callable[[ReceivedEvent], None],
    on_refused: Callable[[str], None],
) -> Starlette:
    """Return an app that takes webhooks at any path.

    It answers 204 and calls ``on_event``, or calls ``on_refused`` with a sentence and answers 401
    to a bad signature, 400 to a signed body that is no event, and 413 to more than 1 MiB.  A
    webhook that is delivered twice is shown twice.
    """

    async def receive(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return refuse(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        try:
            signing.verify(secrets, headers=request.headers, body=body, now=clock())
        except signing.SignatureMismatch as mismatch:
            return refuse(401, mismatch.message)
        try:
            event = _parse(request.headers["webhook-id"], body)
        except ValueError:
            return refuse(400, "The body is not an event.")
        on_event(event)
        return Response(status_code=204)

    def refuse(status: int, message: str) -> Response:
        on_refused(message)
        return PlainTextResponse(message, status_code=status)

    return Starlette(routes=[Route("/{path:path}", receive, methods=["POST"])])


def run_receiver(
    app: Starlette, *, host: str, port: int, on_listening: Callable[[str], None]
) -> None:
    """Serve until interrupted, after calling ``on_listening`` with the URL; port 0 takes any.

    Raises :class:`OSError` when the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        shown_host = f"[{host}]" if ":" in host else host
        on_listening(f"http://{shown_host}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, log_level="critical", access_log=False
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def format_line(event: ReceivedEvent) -> str:
    """Return time, type, instance, status and reason, as far as there are any, on one line."""
    data = event.body["data"]
    instance = _part(data, "instance")
    reason = _part(data, "error") or _part(instance, "reason")
    return format_event(
        str(event.body.get("timestamp", "")),
        event.body["type"],
        f"{instance.get('name')} ({instance.get('id')})" if instance else None,
        str(instance.get("status", "")),
        f"{reason.get('code')}: {reason.get('message')}" if reason else None,
    )


def format_json(event: ReceivedEvent) -> str:
    """Return the event as one line of JSON: its body, with the webhook's id as ``id``."""
    return json.dumps({"id": event.webhook_id, **event.body})


async def _read(request: Request) -> bytes | None:
    """Return the body, or ``None`` once it is larger than any webhook."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _parse(webhook_id: str, body: bytes) -> ReceivedEvent:
    content = json.loads(body)
    match content:
        case {"type": str(), "data": dict()}:
            return ReceivedEvent(webhook_id=webhook_id, body=content)
    raise ValueError("not an event")


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, Mapping) else {}
