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
from gpukeeper.simulator.admin.admin_route import (
    PREFIX,
    AdminRequest,
    AdminRoute,
    RouteRow,
    as_list,
)
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
        Route(route.path, _endpoint(world, route), methods=[route.method]) for route in ADMIN_ROUTES
    ]


def _endpoint(world: World, route: AdminRoute) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = _json(await request.body())
        with world.lock:
            world.settle()
            asked = AdminRequest(request.path_params, request.query_params, body)
            return JSONResponse(encode(route.perform(world, asked)))

    return endpoint


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise BadInput("the body is not JSON") from error


def _summarize(world: World, _: AdminRequest) -> object:
    routes = [
        {"method": each.method, "path": each.path, "does": each.does} for each in ADMIN_ROUTES
    ]
    return world_views.describe_world(world) | {"admin": routes}


def _reset(world: World, asked: AdminRequest) -> object:
    """Begin anew, with the present settings and the changes in the body."""
    world.reset(apply_changes(world.settings, asked.body))
    return world_views.describe_world(world)


def _change_clock(world: World, asked: AdminRequest) -> object:
    change = decode(ClockChange, asked.body)
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
    return world_views.describe_clock(world)


def _change_settings(world: World, asked: AdminRequest) -> object:
    world.settings = apply_changes(world.settings, asked.body)
    return world.settings


def _list_machines(world: World, asked: AdminRequest) -> object:
    name = asked.query.get("name", "")
    machines = [machine for machine in world.machines.values() if name in machine.order.name]
    return [world_views.summarize_machine(world, machine) for machine in machines]


def _show_machine(world: World, asked: AdminRequest) -> object:
    return world_views.describe_machine(world, _find_machine(world, asked))


def _add_machines(world: World, asked: AdminRequest) -> object:
    machines = add_foreign_machines(world, decode(ForeignMachines, asked.body))
    return [world_views.summarize_machine(world, machine) for machine in machines]


def _act(world: World, asked: AdminRequest) -> object:
    details = decode(ActionDetails, asked.body)
    machine = perform_action(world, _find_machine(world, asked), asked.path["action"], details)
    return world_views.describe_machine(world, machine)


def _find_machine(world: World, asked: AdminRequest) -> Machine:
    machine = world.machines.get(asked.path["machine_id"])
    if machine is None:
        raise HTTPException(404, "no such machine")
    return machine


def _add_fate(world: World, asked: AdminRequest) -> object:
    for fate in as_list(asked.body):
        world.fates.add(decode(Fate, fate))
    return world.fates.waiting()


def _clear_fates(world: World, _: AdminRequest) -> object:
    world.fates.clear()
    return []


def _list_faults(world: World, _: AdminRequest) -> object:
    return [world_views.describe_rule(rule) for rule in world.faults.rules()]


def _add_fault(world: World, asked: AdminRequest) -> object:
    faults = [decode(Fault, body) for body in as_list(asked.body)]
    return [world_views.describe_rule(world.faults.add(fault, world.now())) for fault in faults]


def _clear_faults(world: World, _: AdminRequest) -> object:
    world.faults.clear()
    return []


def _remove_fault(world: World, asked: AdminRequest) -> object:
    if not world.faults.remove(int(asked.path["rule_id"])):
        raise HTTPException(404, "no such rule")
    return _list_faults(world, asked)


def _list_requests(world: World, asked: AdminRequest) -> object:
    records = world.journal.requests(route=asked.query.get("route"))
    return {"counts": world.journal.counts(), "requests": records}


def _clear_requests(world: World, _: AdminRequest) -> object:
    world.journal.clear()
    return {"counts": {}, "requests": []}


_TABLE: tuple[RouteRow, ...] = (
    ("GET", "", "the world in short, and what can be scripted", _summarize),
    ("POST", "/reset", "begin anew; the body changes settings", _reset),
    ("GET", "/clock", "the simulated time", lambda world, _: world_views.describe_clock(world)),
    ("POST", "/clock", "`mode`, `speed`, `set`, `advance_seconds`", _change_clock),
    ("GET", "/settings", "every setting", lambda world, _: world.settings),
    ("PATCH", "/settings", "change some settings", _change_settings),
    ("GET", "/machines", "every machine there ever was; `?name=` part", _list_machines),
    ("POST", "/machines", "machines appear that nobody ordered", _add_machines),
    ("GET", "/machines/{machine_id}", "its past, future and bill", _show_machine),
    ("POST", "/machines/{machine_id}/{action}", "do an action to it", _act),
    ("GET", "/next", "the fates that wait", lambda world, _: world.fates.waiting()),
    ("POST", "/next", "script the fate of the next machines (one or a list)", _add_fate),
    ("DELETE", "/next", "forget the fates that wait", _clear_fates),
    *MARKET_ROUTES,
    ("GET", "/faults", "the fault rules, and how often each struck", _list_faults),
    ("POST", "/faults", "add fault rules (one or a list)", _add_fault),
    ("DELETE", "/faults", "remove all fault rules", _clear_faults),
    ("DELETE", "/faults/{rule_id:int}", "remove one fault rule", _remove_fault),
    (
        "GET",
        "/ledger",
        "what every machine has cost",
        lambda world, _: world_views.describe_ledger(world),
    ),
    ("GET", "/requests", "every request to Novita; `?route=` name", _list_requests),
    ("DELETE", "/requests", "forget them", _clear_requests),
)
ADMIN_ROUTES = tuple(
    AdminRoute(method, PREFIX + path, does, perform) for method, path, does, perform in _TABLE
)
