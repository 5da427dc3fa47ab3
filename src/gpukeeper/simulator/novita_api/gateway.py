"""The entrance of every Novita route: key check, faults, journal, and how connections end."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

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
    arrived_at: datetime
    shift: int = 0


# By this a client sees that the simulator has begun anew and forgotten its machines.
WORLD_HEADER = "x-simulated-world"

# Returns the body of a success; None is an empty 204.
Handler = Callable[[World, NovitaCall], object]


@dataclass(frozen=True, slots=True)
class NovitaEndpoint:
    """An ASGI application for one route; it lets requests in, and faults too."""

    world: World
    route: str
    handler: Handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request, or fail in the way that is wanted."""
        request = Request(scope, receive)
        world = self.world
        # Read to the end even if it will be reset: a client that is still writing when the reset
        # comes sees one of several errors, and a test wants always the same.
        body = await request.body()
        with world.lock:
            arrived_at = world.now()
            fault = world.faults.draw(self.route, arrived_at, world.rng)
        if fault is not None and not fault.takes_effect:
            response, machine = make_faulty_response(fault, arrived_at), None
        else:
            if fault is not None and fault.kind == "slow" and fault.when == "before":
                await asyncio.sleep(fault.seconds)
            with world.lock:
                response, machine = self._perform(request, body, fault, arrived_at)
        record = RequestRecord(
            at=arrived_at,
            route=self.route,
            method=request.method,
            path=request.url.path,
            query=dict(request.query_params),
            status=response.status if response.ending == "whole" else None,
            fault=fault.kind if fault else None,
            machine=machine,
        )
        with world.lock:
            world.journal.write(record)
        await send_response(_stamped(world, response), scope, receive, send)

    def _perform(
        self, request: Request, body: bytes, fault: Fault | None, arrived_at: datetime
    ) -> tuple[RawResponse, str | None]:
        """Let the request take effect; return the response and the machine it is about."""
        world = self.world
        machine: str | None = None
        try:
            check_key(world, request.headers.get("authorization", ""))
            call = _read_call(request, body, fault, arrived_at)
            machine = call.query.get("instanceId") or call.body.get("instanceId")
            world.settle()
            answer = self.handler(world, call)
        except Refusal as refusal:
            response = encode_refusal(refusal)
        else:
            response = encode_response(answer)
            if self.route == "create" and isinstance(answer, dict):
                machine = answer["id"]
        if fault is not None:
            response = spoil_response(fault, response, world.now())
        return response, machine


def check_key(world: World, authorization: str) -> None:
    """Raise :class:`Refusal` 401 unless a key is given that the settings accept."""
    scheme, _, key = authorization.partition(" ")
    accepted = world.settings.api_keys
    if scheme.casefold() != "bearer" or not key.strip() or (accepted and key not in accepted):
        raise unauthorized()


async def send_response(response: RawResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response, or end the connection in the way that it says."""
    if response.ending == "reset":
        return await _end_connection(scope, receive, is_reset=True)
    if response.ending == "timeout":
        await _wait_until_left(scope, receive, response.wait_seconds)
        return await _end_connection(scope, receive, is_reset=False)
    if response.wait_seconds:
        await asyncio.sleep(response.wait_seconds)
    headers = {"content-type": response.content_type, **response.headers}
    if response.status != 204:
        headers["content-length"] = str(len(response.body))
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    if response.ending == "cut":
        half = response.body[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return await _end_connection(scope, receive, is_reset=False)
    await send({"type": "http.response.body", "body": response.body})


def _stamped(world: World, response: RawResponse) -> RawResponse:
    """Return the response with the world's name, and the time of the gateway that sends it."""
    headers = {**response.headers, WORLD_HEADER: world.name}
    if world.settings.date_sent:
        at = world.clock.wall() + timedelta(seconds=world.settings.date_skew_seconds)
        headers["date"] = format_datetime(at, usegmt=True)
    return replace(response, headers=headers)


def _read_call(
    request: Request, body: bytes, fault: Fault | None, arrived_at: datetime
) -> NovitaCall:
    """Read the request; raise :class:`Refusal` when the body is no JSON object."""
    try:
        data = json.loads(body or b"{}")
    except ValueError as error:
        raise Refusal(400, "REQUEST", "the body is not JSON") from error
    if not isinstance(data, dict):
        raise Refusal(400, "REQUEST", "the body is not an object")
    shift = fault.rows if fault is not None and fault.kind == "shift-pages" else 0
    return NovitaCall(request.query_params, data, arrived_at, shift)


async def _wait_until_left(scope: Scope, receive: Receive, seconds: float) -> None:
    """Wait until the client has left, at most for ``seconds``; in process it never leaves."""
    if _hang_up(scope) is None:
        return
    try:
        await asyncio.wait_for(_wait_for_leave(receive), seconds)
    except TimeoutError:
        return


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end_connection(scope: Scope, receive: Receive, *, is_reset: bool) -> None:
    """End the connection; raise :class:`ConnectionResetError` where there is none, in process."""
    hang_up = _hang_up(scope)
    if hang_up is None:
        raise ConnectionResetError("the simulator ended the connection")
    hang_up(is_reset=is_reset)
    await _wait_for_leave(receive)


def _hang_up(scope: Scope) -> Callable[..., None] | None:
    found: Callable[..., None] | None = scope.get("extensions", {}).get(HANG_UP)
    return found
