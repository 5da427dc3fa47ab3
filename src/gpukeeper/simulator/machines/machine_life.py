"""How a machine's life goes on: each verb returns the machine with another future.

The words and their order are Novita's (Novita API notes §4).  Every function takes the machine
and the time at which the change happens; phases last as long as ``seconds`` draws for them.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.simulator.machines.machine import (
    GONE,
    Gpu,
    Machine,
    Moment,
    Reclaim,
    apply_reclaim,
    change_from,
)
from gpukeeper.simulator.market.create_request import Order

Seconds = Callable[[str], float]

# Charging begins at `pulling` and ends when the machine has stopped (Novita API notes §7).
_GPU_USE = {
    **dict.fromkeys(("pending", "toCreate", "creating", "toStart"), Gpu.HELD),
    **dict.fromkeys(("pulling", "starting", "running", "migrating"), Gpu.BILLED),
    **dict.fromkeys(("toStop", "stopping", "toRestart", "restarting"), Gpu.BILLED),
    **dict.fromkeys(("toReset", "resetting"), Gpu.BILLED),
    **dict.fromkeys(("exited", "freezing", "removed", "terminated", GONE), Gpu.FREE),
}
GOING_DOWN = frozenset({"toStop", "stopping", "freezing"})
GOING = frozenset({"toRemove", "removing"})

_CREATION: tuple[str, ...] = ("pending", "toCreate", "creating")
_FAILED_BOOT: tuple[str, ...] = (*_CREATION, "pulling")
_BOOT: tuple[str, ...] = (*_FAILED_BOOT, "starting")


def boot_machine(
    *,
    machine_id: str,
    order: Order,
    cluster_id: str,
    price: int,
    at: datetime,
    seconds: Seconds,
    starts: bool = True,
    failure: tuple[str, str] | None = None,
    exits: bool = False,
) -> Machine:
    """Return a machine that was just created and, if it ``starts``, starts by itself.

    With ``failure`` (state and message of ``statusError``) the pull fails: the machine then stays
    in ``pulling``, or falls to ``exited`` when ``exits``.
    """
    spot_status = "running" if order.billing_mode == "spot" else ""
    origin = Moment(at, "pending", Gpu.HELD, spot_status=spot_status)
    phases, end = (_BOOT, "running") if starts else (_CREATION, "exited")
    if failure is not None:
        phases, end = _FAILED_BOOT, "exited" if exits else "pulling"
    plan = _lay_moments(origin, [*_legs(seconds, *phases), (end, 0)])
    machine = Machine(machine_id, order, cluster_id, price, plan, plan)
    return machine if failure is None else fail(machine, plan[-1].at, failure, exits=exits)


def place_machine(
    *, machine_id: str, order: Order, cluster_id: str, price: int, at: datetime, status: str
) -> Machine:
    """Return a machine that is simply there, in ``status``, and stays so."""
    spot_status = "running" if order.billing_mode == "spot" else ""
    plan = _lay_moments(Moment(at, status, Gpu.HELD, spot_status=spot_status), [(status, 0)])
    return Machine(machine_id, order, cluster_id, price, plan, plan)


def stop(machine: Machine, now: datetime, seconds: Seconds) -> Machine:
    """Stop it: it ends as ``exited`` and no longer holds its GPUs."""
    legs = _legs(seconds, "toStop", "stopping")
    stopping = _follow(machine, now, legs)
    stopped_at = now + timedelta(seconds=sum(lasts for _, lasts in legs))
    return _follow(stopping, stopped_at, [("exited", 0)], spot_status="", reclaim_at=None)


def start(machine: Machine, now: datetime, seconds: Seconds) -> Machine:
    """Start it again, with new SSH credentials and without its old errors."""
    legs = _legs(seconds, "toStart", "starting")
    return _follow(machine, now, [*legs, ("running", 0)], **_start_changes(machine, now))


def restart(machine: Machine, now: datetime, seconds: Seconds) -> Machine:
    """Restart it in place; a planned reclaim stays planned."""
    legs = _legs(seconds, "toRestart", "restarting")
    current = machine.at(now)
    start_no = 1 if current is None else current.start_no + 1
    return _follow(
        machine, now, [*legs, ("running", 0)], reclaim=machine.reclaim, start_no=start_no
    )


def delete(machine: Machine, now: datetime, seconds: Seconds) -> Machine:
    """Delete it from any status; a machine told to hang stays in ``toRemove`` for so long."""
    legs = _legs(seconds, "toRemove", "removing", "removed")
    if machine.hang_delete is None:
        return _follow(machine, now, [*legs, (GONE, 0)])
    if machine.hang_delete == timedelta.max:
        return _follow(machine, now, [("toRemove", 0)])
    return _follow(
        machine, now, [("toRemove", machine.hang_delete.total_seconds()), *legs[1:], (GONE, 0)]
    )


def freeze(machine: Machine, now: datetime, seconds: Seconds) -> Machine:
    """Freeze it for arrears; it then falls to ``exited``."""
    return _follow(machine, now, [("freezing", seconds("freezing")), ("exited", 0)])


def fail(machine: Machine, at: datetime, failure: tuple[str, str], *, exits: bool) -> Machine:
    """Let it fail with ``statusError`` filled: stuck where it is, or fallen to ``exited``."""
    current = machine.at(at)
    status = "exited" if exits or current is None else current.status
    reclaim = None if status == "exited" else machine.reclaim
    state, message = failure
    return _follow(
        machine, at, [(status, 0)], reclaim=reclaim, error_state=state, error_message=message
    )


def end_process(machine: Machine, at: datetime, *, behaviour: str) -> Machine:
    """Let its process end; the platform shows ``exited``, replays it, or notices nothing."""
    if behaviour == "exited":
        return _follow(machine, at, [("exited", 0)], spot_status="", reclaim_at=None)
    if behaviour == "restart-loop":
        return replace(machine, replays=machine.replays + 1)
    return machine


def stay(machine: Machine, now: datetime, status: str) -> Machine:
    """Put it into any status, known or not, and leave it there."""
    return _follow(machine, now, [(status, 0)], reclaim=machine.reclaim)


def vanish(machine: Machine, at: datetime) -> Machine:
    """Let Novita forget it at once."""
    return _follow(machine, at, [(GONE, 0)])


def finish(machine: Machine, now: datetime) -> Machine:
    """Jump to where it is going: running, exited, or gone."""
    current = machine.at(now)
    if current is None or current.status in GOING or current.status == "removed":
        return vanish(machine, now)
    if current.status == "exited":
        return machine
    if current.status in GOING_DOWN:
        return _follow(machine, now, [("exited", 0)], spot_status="", reclaim_at=None)
    return _follow(
        machine,
        now,
        [("running", 0)],
        reclaim=machine.reclaim,
        error_state="",
        error_message="",
    )


def plan_reclaim(machine: Machine, now: datetime, reclaim: Reclaim | None) -> Machine:
    """Plan, move or withdraw (``None``) the reclaim of a spot machine."""
    past = tuple(moment for moment in machine.moments if moment.at <= now)
    future = tuple(moment for moment in machine.plan if moment.at > now)
    plan = change_from(past + future, now, spot_status="running", reclaim_at=None)
    return replace(machine, plan=plan, reclaim=reclaim, moments=apply_reclaim(plan, reclaim))


def pull_for_ever(machine: Machine) -> Machine:
    """Let the pull that it is planned to begin, or has begun, never end."""
    pulls_at = next(moment.at for moment in machine.plan if moment.status == "pulling")
    return _follow(machine, pulls_at, [("pulling", 0)], reclaim=machine.reclaim)


def runs_at(machine: Machine, now: datetime) -> datetime:
    """Return when it runs next, or when its last planned moment begins if it never does."""
    running = (
        moment.at for moment in machine.plan if moment.status == "running" and moment.at >= now
    )
    return next(running, machine.plan[-1].at)


def _follow(
    machine: Machine,
    at: datetime,
    legs: Iterable[tuple[str, float]],
    *,
    reclaim: Reclaim | None = None,
    **changes: Any,
) -> Machine:
    """Forget the future after ``at`` and go on with ``legs``, keeping only this ``reclaim``."""
    past = tuple(moment for moment in machine.moments if moment.at <= at)
    last = past[-1] if past else machine.plan[0]
    still_planned = reclaim if reclaim is not None and reclaim.at > at else None
    plan = past + _lay_moments(replace(last, at=at, **changes), legs)
    return replace(
        machine, plan=plan, reclaim=still_planned, moments=apply_reclaim(plan, still_planned)
    )


def _legs(seconds: Seconds, *phases: str) -> list[tuple[str, float]]:
    return [(phase, seconds(phase)) for phase in phases]


def _lay_moments(origin: Moment, legs: Iterable[tuple[str, float]]) -> tuple[Moment, ...]:
    """Return the moments of ``legs``, one after the other from ``origin`` on."""
    moments: list[Moment] = []
    current = origin
    for status, lasts in legs:
        # Unknown words and removals change nothing.
        gpu = _GPU_USE.get(status, current.gpu)
        current = replace(current, status=status, gpu=gpu)
        moments.append(current)
        current = replace(current, at=current.at + timedelta(seconds=lasts))
    return tuple(moments)


def _start_changes(machine: Machine, now: datetime) -> dict[str, Any]:
    """Return what a start renews."""
    current = machine.at(now)
    return {
        "start_no": 1 if current is None else current.start_no + 1,
        "error_state": "",
        "error_message": "",
        "spot_status": "running" if machine.order.billing_mode == "spot" else "",
        "reclaim_at": None,
    }
