"""The acts of others on a machine: a person in the console, the platform, bad luck."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from gpukeeper.simulator.json_codec import BadInput
from gpukeeper.simulator.machines import machine_life
from gpukeeper.simulator.machines.machine import Machine, Reclaim
from gpukeeper.simulator.market.create_request import Env, Order, Port
from gpukeeper.simulator.market.sales import make_reclaim
from gpukeeper.simulator.simulated_world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMachines:
    """Machines that nobody here ordered; with ``count`` their names end in ``-1``, ``-2``, …"""

    name: str = "somebody-elses"
    status: str = "running"
    product_id: str = "4090.16c62g"
    cluster_id: str = "cn-hongkong-1"
    billing_mode: str = "onDemand"
    gpu_num: int = 1
    rootfs_gb: int = 60
    image: str = "somebody/elses:latest"
    ports: tuple[Port, ...] = ()
    envs: tuple[Env, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDetails:
    """The details of an action; each action reads those that concern it."""

    state: str = "ContainerStartFailed"
    message: str = "container failed to start"
    exited: bool | None = None
    in_seconds: float | None = None
    for_seconds: float | None = None
    notice: bool = True
    vanish: bool = False
    status: str = ""
    price: int | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done to a machine, and its sentence."""

    does: str
    perform: Callable[[World, Machine, ActionDetails], Machine]


def add_foreign_machines(world: World, foreign: ForeignMachines) -> list[Machine]:
    """Let machines appear; raise :class:`BadInput` for an unknown product or cluster."""
    product = world.products.get(foreign.product_id)
    if product is None or foreign.cluster_id not in world.clusters:
        raise BadInput("product_id, cluster_id: both must exist")
    ordered = {
        item.name: getattr(foreign, item.name)
        for item in fields(Order)
        if hasattr(foreign, item.name)
    }
    machines: list[Machine] = []
    for number in range(1, foreign.count + 1):
        name = foreign.name if foreign.count == 1 else f"{foreign.name}-{number}"
        machine = machine_life.place_machine(
            machine_id=world.new_id(),
            order=Order(**ordered | {"name": name}),
            cluster_id=foreign.cluster_id,
            price=product.spot_price if foreign.billing_mode == "spot" else product.price,
            at=world.now(),
            status=foreign.status,
        )
        world.add(machine)
        machines.append(machine)
    return machines


def perform_action(world: World, machine: Machine, action: str, details: ActionDetails) -> Machine:
    """Do one of :data:`ACTIONS` to the machine; raise :class:`BadInput` for another word.

    Nothing is refused here: the platform and the console do what they do.
    """
    if action not in ACTIONS:
        raise BadInput(f"unknown action; known are {', '.join(ACTIONS)}")
    if machine.at(world.now()) is None:
        raise BadInput("the machine is gone")
    changed = ACTIONS[action].perform(world, machine, details)
    world.machines[machine.id] = changed
    return changed


def _by_person(
    change: Callable[[Machine, datetime, machine_life.Seconds], Machine],
) -> Callable[[World, Machine, ActionDetails], Machine]:
    return lambda world, machine, _: change(machine, world.now(), world.seconds)


def _boot_error(world: World, machine: Machine, details: ActionDetails) -> Machine:
    exits = world.settings.boot_error_leaves == "exited"
    return machine_life.fail(
        machine,
        world.now(),
        (details.state, details.message),
        exits=exits if details.exited is None else details.exited,
    )


def _hang_delete(world: World, machine: Machine, details: ActionDetails) -> Machine:
    lasts = timedelta.max if details.for_seconds is None else _seconds(details.for_seconds)
    hanging = replace(machine, hang_delete=lasts)
    current = machine.at(world.now())
    if current is not None and current.status in machine_life.GOING:
        return machine_life.delete(hanging, world.now(), world.seconds)
    return hanging


def _spot_notice(world: World, machine: Machine, details: ActionDetails) -> Machine:
    """Announce a reclaim in so many seconds; without a number, announce it with time "0"."""
    now = world.now()
    usual = make_reclaim(world, now)
    is_told = details.in_seconds is not None
    reclaim_at = now + _seconds(details.in_seconds) if details.in_seconds is not None else usual.at
    return machine_life.plan_reclaim(
        machine, now, replace(usual, at=reclaim_at, notice_at=now, is_time_told=is_told)
    )


def _reclaim(world: World, machine: Machine, details: ActionDetails) -> Machine:
    now = world.now()
    reclaim = Reclaim(
        at=now,
        notice_at=now if details.notice else None,
        takes=timedelta(seconds=world.seconds("reclaiming")),
        vanishes=details.vanish,
    )
    return machine_life.plan_reclaim(machine, now, reclaim)


def _stale_once(world: World, machine: Machine, _: ActionDetails) -> Machine:
    world.stale_once.add(machine.id)
    return machine


def _set(world: World, machine: Machine, details: ActionDetails) -> Machine:
    if not details.status:
        raise BadInput("status: required")
    return machine_life.stay(machine, world.now(), details.status)


def _reprice(world: World, machine: Machine, details: ActionDetails) -> Machine:
    if details.price is None:
        raise BadInput("price: required")
    return machine.with_price(details.price, world.now())


def _seconds(number: float) -> timedelta:
    """Return a duration; a negative one would change the past."""
    return timedelta(seconds=max(0.0, number))


ACTIONS: Mapping[str, Action] = {
    "start": Action(
        "a person starts it in the console",
        _by_person(machine_life.start),
    ),
    "stop": Action(
        "a person stops it in the console",
        _by_person(machine_life.stop),
    ),
    "restart": Action(
        "a person restarts it in the console",
        _by_person(machine_life.restart),
    ),
    "delete": Action(
        "a person deletes it in the console",
        _by_person(machine_life.delete),
    ),
    "boot-error": Action(
        "it fails with `state` and `message` in `statusError`; `exited` true or false", _boot_error
    ),
    "pull-forever": Action(
        "it pulls, and never ends",
        lambda world, machine, _: machine_life.stay(machine, world.now(), "pulling"),
    ),
    "finish": Action(
        "it is at once where it is going: running, exited or gone",
        lambda world, machine, _: machine_life.finish(machine, world.now()),
    ),
    "exit": Action(
        "its process ends; what shows is the setting `process_exit`",
        lambda world, machine, _: machine_life.end_process(
            machine, world.now(), behaviour=world.settings.process_exit
        ),
    ),
    "spot-notice": Action(
        'it will be reclaimed `in_seconds`; null: notified with spotReclaimTime "0"', _spot_notice
    ),
    "withdraw-notice": Action(
        "the planned reclaim is called off",
        lambda world, machine, _: machine_life.plan_reclaim(machine, world.now(), None),
    ),
    "reclaim": Action(
        "it is reclaimed now; `notice` false: no spot field says so; `vanish` true: it is gone",
        _reclaim,
    ),
    "hang-delete": Action(
        "its deletion stays in `toRemove` `for_seconds`; null: until `finish`", _hang_delete
    ),
    "vanish": Action(
        "Novita no longer knows it",
        lambda world, machine, _: machine_life.vanish(machine, world.now()),
    ),
    "set": Action("it shows `status`, any word, and stays so", _set),
    "reprice": Action("it costs `price` from now on, in 1e-5 USD per GPU and hour", _reprice),
    "stale-once": Action("the next list shows its previous status", _stale_once),
}
