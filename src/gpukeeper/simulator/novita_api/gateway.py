"""The door of every Novita route: key check, faults, journal, and how connections end."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.novita_api.known_refusals import Refusal, unauthorized
from gpukeeper.simulator.novita_api.raw_responses import (
    RawResponse,
    encode_refusal,
    encode_response,
    make_faulty_response,
    spoil_response,
)
from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from gpukeeper.simulator.simulated_world import World

# Where the server puts the function that ends the TCP connection: hang_up(is_reset=…).
HANG_UP = "gpukeeper.simulator.hang_up"


@dataclass(frozen=True, slots=True)
class NovitaCall:
    """One request as the routes see it; ``shift`` is how many rows later pages skip."""

    query: Mapping[str, str]
    body: Mapping[str, Any]
    shift: int = 0
    arrived_at: datetime | None = None


# By this a client sees that the simulator has begun anew and forgotten its machines.
WORLD_HEADER = b"x-simulated-world"

# Returns the body of a success; None is an empty 204.
Handler = Callable[[World, NovitaCall], object]


@dataclass(frozen=True, slots=True)
class NovitaEndpoint:
    """An ASGI application for one route; it lets requests in, and faults too."""

    world: World
    route: str
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or fail in the way that is wanted."""
        request = Request(scope, receive)
        world = self.world
        # Read to the end even if it will be reset: a client that is still writing when the reset
        # comes sees one of several errors, and a test wants always the same.
        body = await request.body()
        with world.lock:
            arrived_at = world.now()
            fault = world.faults.draw(self.route, arrived_at, world.rng)
        if fault is not None and not fault.takes_effect:
            reply, machine = make_faulty_response(fault, arrived_at), None
        else:
            if fault is not None and fault.kind == "slow" and fault.when == "before":
                await asyncio.sleep(fault.seconds)
            with world.lock:
                reply, machine = self._perform(request, body, fault, arrived_at)
        visit = RequestRecord(
            at=arrived_at,
            route=self.route,
            method=request.method,
            path=request.url.path,
            query=dict(request.query_params),
            status=reply.status if reply.ending == "whole" else None,
            fault=fault.kind if fault else None,
            machine=machine,
        )
        with world.lock:
            world.journal.write(visit)
        await send_response(_dated(world, reply), scope, receive, _naming(send, world.name))

    def _perform(
        self, request: Request, body: bytes, fault: Fault | None, arrived_at: datetime
    ) -> tuple[RawResponse, str | None]:
        """Let the request take effect; return the reply and the machine it is about."""
        world = self.world
        machine: str | None = None
        try:
            check_key(world, request.headers.get("authorization", ""))
            call = replace(_call(request, body, fault), arrived_at=arrived_at)
            machine = call.query.get("instanceId") or call.body.get("instanceId")
            world.settle()
            answer = self.handler(world, call)
        except Refusal as refusal:
            reply = encode_refusal(refusal)
        else:
            reply = encode_response(answer)
            if self.route == "create" and isinstance(answer, dict):
                machine = answer["id"]
        if fault is not None:
            reply = spoil_response(fault, reply, world.now())
        return reply, machine


def _naming(send: Send, name: str) -> Send:
    """Return what sends an answer that says of which simulated world it is."""

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", []), (WORLD_HEADER, name.encode())]
            message = {**message, "headers": headers}
        await send(message)

    return send_named


def check_key(world: World, authorization: str) -> None:
    """Raise :class:`Refusal` 401 unless a key is given that the settings accept."""
    scheme, _, key = authorization.partition(" ")
    accepted = world.settings.api_keys
    if scheme.casefold() != "bearer" or not key.strip() or (accepted and key not in accepted):
        raise unauthorized()


async def send_response(reply: RawResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the reply, or end the connection in the way that it says."""
    if reply.ending == "reset":
        return await _end(scope, receive, is_reset=True)
    if reply.ending == "timeout":
        await _wait_until_left(scope, receive, reply.wait_seconds)
        return await _end(scope, receive, is_reset=False)
    if reply.wait_seconds:
        await asyncio.sleep(reply.wait_seconds)
    headers = {"content-type": reply.content_type, **reply.headers}
    if reply.status != 204:
        headers["content-length"] = str(len(reply.body))
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    if reply.ending == "cut":
        half = reply.body[: len(reply.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return await _end(scope, receive, is_reset=False)
    await send({"type": "http.response.body", "body": reply.body})


def _dated(world: World, reply: RawResponse) -> RawResponse:
    """Return the reply with the time of whoever answers, which is a gateway's and no machine's."""
    settings = world.settings
    if not settings.date_sent:
        return reply
    at = world.clock.wall() + timedelta(seconds=settings.date_skew_seconds)
    return replace(reply, headers={**reply.headers, "date": format_datetime(at, usegmt=True)})


def _call(request: Request, body: bytes, fault: Fault | None) -> NovitaCall:
    """Read the request; raise :class:`Refusal` when the body is no JSON object."""
    shift = fault.rows if fault is not None and fault.kind == "shift-pages" else 0
    if not body:
        return NovitaCall(request.query_params, {}, shift)
    try:
        data = json.loads(body)
    except ValueError as error:
        raise Refusal(400, "REQUEST", "the body is not JSON") from error
    if not isinstance(data, dict):
        raise Refusal(400, "REQUEST", "the body is not an object")
    return NovitaCall(request.query_params, data, shift)


async def _wait_until_left(scope: Scope, receive: Receive, seconds: float) -> None:
    """Wait until the client has left, at most for ``seconds``; in process it never leaves."""
    if _hang_up(scope) is None:
        return
    try:
        await asyncio.wait_for(_left(receive), seconds)
    except TimeoutError:
        return


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(scope: Scope, receive: Receive, *, is_reset: bool) -> None:
    """End the connection; raise :class:`ConnectionResetError` where there is none, in process."""
    hang_up = _hang_up(scope)
    if hang_up is None:
        raise ConnectionResetError("the simulator ended the connection")
    hang_up(is_reset=is_reset)
    await _left(receive)


def _hang_up(scope: Scope) -> Callable[..., None] | None:
    found: Callable[..., None] | None = scope.get("extensions", {}).get(HANG_UP)
    return found
