"""The admin API under `/_sim`: script the world, and read what really happened in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpukeeper.simulator.admin import world_views
from gpukeeper.simulator.admin.admin_route import PREFIX, AdminRequest, AdminRoute, as_list
from gpukeeper.simulator.admin.market_routes import MARKET_ROUTES
from gpukeeper.simulator.json_codec import BadInput, apply_changes, decode, encode
from gpukeeper.simulator.machines.interventions import (
    ActionDetails,
    ForeignMachines,
    add_foreign_machines,
    perform_action,
)
from gpukeeper.simulator.machines.machine import Machine
from gpukeeper.simulator.machines.scripted_fates import Fate
from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.simulated_world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """What to do to the clock, in this order: mode and speed, then set, then advance."""

    mode: Literal["real", "manual"] | None = None
    speed: float | None = None
    set: str | None = None
    advance_seconds: float | None = None


def build_routes(world: World) -> list[Route]:
    """Return the admin routes over ``world``."""
    return [
        Route(deed.path, _endpoint(world, deed), methods=[deed.method]) for deed in ADMIN_ROUTES
    ]


def _endpoint(world: World, deed: AdminRoute) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        ask = AdminRequest(request.path_params, request.query_params, _json(body))
        with world.lock:
            world.settle()
            answer = deed.perform(world, ask)
            return JSONResponse(encode(answer))

    return endpoint


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise BadInput("the body is not JSON") from error


def _summary(world: World, _: AdminRequest) -> object:
    deeds = [{"method": deed.method, "path": deed.path, "does": deed.does} for deed in ADMIN_ROUTES]
    return world_views.summary(world) | {"admin": deeds}


def _reset(world: World, ask: AdminRequest) -> object:
    """Begin anew, with the present settings and the changes in the body."""
    world.reset(apply_changes(world.settings, ask.body))
    return world_views.summary(world)


def _clock(world: World, _: AdminRequest) -> object:
    return world_views.clock(world)


def _change_clock(world: World, ask: AdminRequest) -> object:
    change = decode(ClockChange, ask.body)
    clock = world.clock
    try:
        if change.mode == "manual":
            clock.hold()
        elif change.mode == "real" or change.speed is not None:
            clock.follow(speed=clock.speed if change.speed is None else change.speed)
        if change.set is not None:
            clock.set(datetime.fromisoformat(change.set))
        if change.advance_seconds is not None:
            clock.advance(timedelta(seconds=change.advance_seconds))
    except (ValueError, TypeError, OverflowError) as error:  # no time, no zone, past, too far
        raise BadInput(f"clock: {error}") from error
    return world_views.clock(world)


def _settings(world: World, _: AdminRequest) -> object:
    return world.settings


def _change_settings(world: World, ask: AdminRequest) -> object:
    world.settings = apply_changes(world.settings, ask.body)
    return world.settings


def _machines(world: World, ask: AdminRequest) -> object:
    name = ask.query.get("name", "")
    return [
        world_views.machine_in_short(world, machine)
        for machine in world.machines.values()
        if name in machine.order.name
    ]


def _machine(world: World, ask: AdminRequest) -> object:
    return world_views.machine(world, _found(world, ask))


def _arrive(world: World, ask: AdminRequest) -> object:
    machines = add_foreign_machines(world, decode(ForeignMachines, ask.body))
    return [world_views.machine_in_short(world, machine) for machine in machines]


def _act(world: World, ask: AdminRequest) -> object:
    details = decode(ActionDetails, ask.body)
    machine = perform_action(world, _found(world, ask), ask.path["action"], details)
    return world_views.machine(world, machine)


def _found(world: World, ask: AdminRequest) -> Machine:
    machine = world.machines.get(ask.path["machine_id"])
    if machine is None:
        raise HTTPException(404, "no such machine")
    return machine


def _fates(world: World, _: AdminRequest) -> object:
    return world.fates.waiting()


def _add_fate(world: World, ask: AdminRequest) -> object:
    for fate in as_list(ask.body):
        world.fates.add(decode(Fate, fate))
    return world.fates.waiting()


def _clear_fates(world: World, _: AdminRequest) -> object:
    world.fates.clear()
    return world.fates.waiting()


def _faults(world: World, _: AdminRequest) -> object:
    return [world_views.rule(rule) for rule in world.faults.rules()]


def _add_fault(world: World, ask: AdminRequest) -> object:
    faults = [decode(Fault, body) for body in as_list(ask.body)]
    return [world_views.rule(world.faults.add(fault, world.now())) for fault in faults]


def _clear_faults(world: World, _: AdminRequest) -> object:
    world.faults.clear()
    return []


def _remove_fault(world: World, ask: AdminRequest) -> object:
    if not world.faults.remove(int(ask.path["rule_id"])):
        raise HTTPException(404, "no such rule")
    return [world_views.rule(rule) for rule in world.faults.rules()]


def _ledger(world: World, _: AdminRequest) -> object:
    return world_views.ledger(world)


def _requests(world: World, ask: AdminRequest) -> object:
    visits = world.journal.visits(route=ask.query.get("route"))
    return {"counts": world.journal.counts(), "requests": visits}


def _clear_requests(world: World, _: AdminRequest) -> object:
    world.journal.clear()
    return {"counts": {}, "requests": []}


ADMIN_ROUTES: tuple[AdminRoute, ...] = (
    AdminRoute("GET", PREFIX, "the world in short, and what can be scripted", _summary),
    AdminRoute("POST", f"{PREFIX}/reset", "begin anew; the body changes settings", _reset),
    AdminRoute("GET", f"{PREFIX}/clock", "the simulated time", _clock),
    AdminRoute(
        "POST", f"{PREFIX}/clock", "`mode`, `speed`, `set`, `advance_seconds`", _change_clock
    ),
    AdminRoute("GET", f"{PREFIX}/settings", "every setting", _settings),
    AdminRoute("PATCH", f"{PREFIX}/settings", "change some settings", _change_settings),
    AdminRoute(
        "GET", f"{PREFIX}/machines", "every machine there ever was; `?name=` part", _machines
    ),
    AdminRoute("POST", f"{PREFIX}/machines", "machines appear that nobody ordered", _arrive),
    AdminRoute("GET", f"{PREFIX}/machines/{{machine_id}}", "its past, future and bill", _machine),
    AdminRoute("POST", f"{PREFIX}/machines/{{machine_id}}/{{action}}", "do an action to it", _act),
    AdminRoute("GET", f"{PREFIX}/next", "the fates that wait", _fates),
    AdminRoute(
        "POST", f"{PREFIX}/next", "script the fate of the next machines (one or a list)", _add_fate
    ),
    AdminRoute("DELETE", f"{PREFIX}/next", "forget the fates that wait", _clear_fates),
    *MARKET_ROUTES,
    AdminRoute("GET", f"{PREFIX}/faults", "the fault rules, and how often each struck", _faults),
    AdminRoute("POST", f"{PREFIX}/faults", "add fault rules (one or a list)", _add_fault),
    AdminRoute("DELETE", f"{PREFIX}/faults", "remove all fault rules", _clear_faults),
    AdminRoute(
        "DELETE", f"{PREFIX}/faults/{{rule_id:int}}", "remove one fault rule", _remove_fault
    ),
    AdminRoute("GET", f"{PREFIX}/ledger", "what every machine has cost", _ledger),
    AdminRoute("GET", f"{PREFIX}/requests", "every request to Novita; `?route=` name", _requests),
    AdminRoute("DELETE", f"{PREFIX}/requests", "forget them", _clear_requests),
)
