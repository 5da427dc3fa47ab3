"""Start, stop, restart and delete, and when they are refused (Novita API notes §3.4)."""

from collections.abc import Callable

from gpukeeper.simulator.machines import machine_life
from gpukeeper.simulator.machines.machine import Machine, Moment
from gpukeeper.simulator.market.product_stock import can_sell
from gpukeeper.simulator.market.sales import plan_random_reclaim
from gpukeeper.simulator.novita_api.known_refusals import (
    no_balance,
    not_found,
    out_of_stock,
    prepaid,
    wrong_state,
)
from gpukeeper.simulator.simulated_world import World


def start(world: World, machine_id: str) -> Machine:
    """Start a machine that is `exited`; its host may have no GPU left for it."""
    sight = world.find(machine_id)
    if sight.moment.status != "exited":
        raise wrong_state()
    if world.is_out_of_money():
        raise no_balance(reason="EXPIRED_OR_BALANCE_NOT_ENOUGH")
    if not _has_gpu_again(world, sight.machine, sight.moment):
        raise out_of_stock()
    now = world.now()
    started = machine_life.start(sight.machine, now, world.seconds)
    world.machines[machine_id] = plan_random_reclaim(world, started, now)
    if world.settings.machine_price == "start":
        world.reprice(machine_id)
    return _keep(world, world.machines[machine_id])


def stop(world: World, machine_id: str) -> Machine:
    """Stop a machine that is `running`."""
    return _change_running(world, machine_id, machine_life.stop)


def restart(world: World, machine_id: str) -> Machine:
    """Restart a machine that is `running`."""
    return _change_running(world, machine_id, machine_life.restart)


def delete(world: World, machine_id: str) -> Machine:
    """Delete a machine in any status, unless it is paid by the month."""
    sight = world.find(machine_id)
    if sight.machine.order.billing_mode == "monthly":
        raise prepaid()
    if sight.moment.status in machine_life.GOING:
        return _delete_again(world, sight.machine)
    if sight.moment.status == "removed":
        raise not_found(world.settings.not_found)
    deleted = machine_life.delete(sight.machine, world.now(), world.seconds)
    world.machines[machine_id] = deleted
    return deleted


def _change_running(
    world: World,
    machine_id: str,
    change: Callable[..., Machine],
) -> Machine:
    sight = world.find(machine_id)
    if sight.moment.status != "running":
        raise wrong_state()
    return _keep(world, change(sight.machine, world.now(), world.seconds))


def _keep(world: World, machine: Machine) -> Machine:
    """Keep the change; by switch the response is a refusal all the same (notes §12.9)."""
    world.machines[machine.id] = machine
    if world.settings.state_change == "acts-and-refuses":
        raise wrong_state()
    return machine


def _delete_again(world: World, machine: Machine) -> Machine:
    if world.settings.repeated_delete == "not-found":
        raise not_found(world.settings.not_found)
    if world.settings.repeated_delete == "invalid-state":
        raise wrong_state()
    return machine


def _has_gpu_again(world: World, machine: Machine, moment: Moment) -> bool:
    was_reclaimed = moment.spot_status == "terminated"
    settings = world.settings
    probability = (
        settings.start_refused_after_reclaim if was_reclaimed else settings.start_refused_after_stop
    )
    if world.happens(probability):
        return False
    product = world.products.get(machine.order.product_id)
    if product is None:
        return False
    return can_sell(product, world.stock(product, machine.cluster_id), machine.order.gpu_num)
