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

from gpukeeper.simulator import views
from gpukeeper.simulator.admin_market import MARKET_DEEDS
from gpukeeper.simulator.codec import BadInput, decode, encode, updated
from gpukeeper.simulator.console import Arrival, Details, arrive, perform
from gpukeeper.simulator.deeds import PREFIX, Ask, Deed, each
from gpukeeper.simulator.fates import Fate
from gpukeeper.simulator.faults import Fault
from gpukeeper.simulator.machine import Machine
from gpukeeper.simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """What to do to the clock, in this order: mode and speed, then set, then advance."""

    mode: Literal["real", "manual"] | None = None
    speed: float | None = None
    set: str | None = None
    advance_seconds: float | None = None


def routes(world: World) -> list[Route]:
    """Return the admin routes over ``world``."""
    return [Route(deed.path, _endpoint(world, deed), methods=[deed.method]) for deed in DEEDS]


def _endpoint(world: World, deed: Deed) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        ask = Ask(request.path_params, request.query_params, _json(body))
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


def _summary(world: World, _: Ask) -> object:
    deeds = [{"method": deed.method, "path": deed.path, "does": deed.does} for deed in DEEDS]
    return views.summary(world) | {"admin": deeds}


def _reset(world: World, ask: Ask) -> object:
    """Begin anew, with the present settings and the changes in the body."""
    world.reset(updated(world.settings, ask.body))
    return views.summary(world)


def _clock(world: World, _: Ask) -> object:
    return views.clock(world)


def _change_clock(world: World, ask: Ask) -> object:
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
    return views.clock(world)


def _settings(world: World, _: Ask) -> object:
    return world.settings


def _change_settings(world: World, ask: Ask) -> object:
    world.settings = updated(world.settings, ask.body)
    return world.settings


def _machines(world: World, ask: Ask) -> object:
    name = ask.query.get("name", "")
    return [
        views.machine_in_short(world, machine)
        for machine in world.machines.values()
        if name in machine.order.name
    ]


def _machine(world: World, ask: Ask) -> object:
    return views.machine(world, _found(world, ask))


def _arrive(world: World, ask: Ask) -> object:
    machines = arrive(world, decode(Arrival, ask.body))
    return [views.machine_in_short(world, machine) for machine in machines]


def _act(world: World, ask: Ask) -> object:
    details = decode(Details, ask.body)
    machine = perform(world, _found(world, ask), ask.path["action"], details)
    return views.machine(world, machine)


def _found(world: World, ask: Ask) -> Machine:
    machine = world.machines.get(ask.path["machine_id"])
    if machine is None:
        raise HTTPException(404, "no such machine")
    return machine


def _fates(world: World, _: Ask) -> object:
    return world.fates.waiting()


def _add_fate(world: World, ask: Ask) -> object:
    for fate in each(ask.body):
        world.fates.add(decode(Fate, fate))
    return world.fates.waiting()


def _clear_fates(world: World, _: Ask) -> object:
    world.fates.clear()
    return world.fates.waiting()


def _faults(world: World, _: Ask) -> object:
    return [views.rule(rule) for rule in world.faults.rules()]


def _add_fault(world: World, ask: Ask) -> object:
    faults = [decode(Fault, body) for body in each(ask.body)]
    return [views.rule(world.faults.add(fault, world.now())) for fault in faults]


def _clear_faults(world: World, _: Ask) -> object:
    world.faults.clear()
    return []


def _remove_fault(world: World, ask: Ask) -> object:
    if not world.faults.remove(int(ask.path["rule_id"])):
        raise HTTPException(404, "no such rule")
    return [views.rule(rule) for rule in world.faults.rules()]


def _ledger(world: World, _: Ask) -> object:
    return views.ledger(world)


def _requests(world: World, ask: Ask) -> object:
    visits = world.journal.visits(route=ask.query.get("route"))
    return {"counts": world.journal.counts(), "requests": visits}


def _clear_requests(world: World, _: Ask) -> object:
    world.journal.clear()
    return {"counts": {}, "requests": []}


DEEDS: tuple[Deed, ...] = (
    Deed("GET", PREFIX, "the world in short, and what can be scripted", _summary),
    Deed("POST", f"{PREFIX}/reset", "begin anew; the body changes settings", _reset),
    Deed("GET", f"{PREFIX}/clock", "the simulated time", _clock),
    Deed("POST", f"{PREFIX}/clock", "`mode`, `speed`, `set`, `advance_seconds`", _change_clock),
    Deed("GET", f"{PREFIX}/settings", "every setting", _settings),
    Deed("PATCH", f"{PREFIX}/settings", "change some settings", _change_settings),
    Deed("GET", f"{PREFIX}/machines", "every machine there ever was; `?name=` part", _machines),
    Deed("POST", f"{PREFIX}/machines", "machines appear that nobody ordered", _arrive),
    Deed("GET", f"{PREFIX}/machines/{{machine_id}}", "its past, future and bill", _machine),
    Deed("POST", f"{PREFIX}/machines/{{machine_id}}/{{action}}", "do an action to it", _act),
    Deed("GET", f"{PREFIX}/next", "the fates that wait", _fates),
    Deed(
        "POST", f"{PREFIX}/next", "script the fate of the next machines (one or a list)", _add_fate
    ),
    Deed("DELETE", f"{PREFIX}/next", "forget the fates that wait", _clear_fates),
    *MARKET_DEEDS,
    Deed("GET", f"{PREFIX}/faults", "the fault rules, and how often each struck", _faults),
    Deed("POST", f"{PREFIX}/faults", "add fault rules (one or a list)", _add_fault),
    Deed("DELETE", f"{PREFIX}/faults", "remove all fault rules", _clear_faults),
    Deed("DELETE", f"{PREFIX}/faults/{{rule_id:int}}", "remove one fault rule", _remove_fault),
    Deed("GET", f"{PREFIX}/ledger", "what every machine has cost", _ledger),
    Deed("GET", f"{PREFIX}/requests", "every request to Novita; `?route=` name", _requests),
    Deed("DELETE", f"{PREFIX}/requests", "forget them", _clear_requests),
)
