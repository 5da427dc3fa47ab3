"""The sale of a machine: everything between a create call and a machine that starts by itself."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gpukeeper.simulator.machines import machine_life
from gpukeeper.simulator.machines.machine import Machine, Reclaim
from gpukeeper.simulator.machines.scripted_fates import Fate, find_scripted_refusal
from gpukeeper.simulator.market.create_request import Order, read_order
from gpukeeper.simulator.market.product_stock import Product, can_sell
from gpukeeper.simulator.novita_api.known_refusals import (
    Refusal,
    invalid,
    no_balance,
    out_of_stock,
    over_quota,
)
from gpukeeper.simulator.simulated_world import World


def sell_machine(world: World, body: Mapping[str, Any], *, arrived_at: datetime) -> Machine:
    """Sell the machine that a create call asks for; equal names are two machines and two bills.

    It costs what it did when the call arrived.  Raise :class:`Refusal`.
    """
    order = _rename(read_order(body), world)
    product = _find_product(world, order)
    fate = world.fates.take()
    refusal = None if fate is None else find_scripted_refusal(fate, world.settings.quota_refusal)
    if refusal is not None:
        raise refusal
    _check_account(world, order)
    cluster_id = _choose_cluster(world, order, product)
    is_spot = order.billing_mode == "spot"
    now = world.now()
    failure, exits = _plan_failure(world, order, fate)
    machine = machine_life.boot_machine(
        machine_id=world.new_id(),
        order=order,
        cluster_id=cluster_id,
        price=world.prices.sale_price(
            product, is_spot=is_spot, at=arrived_at, settings=world.settings
        ),
        at=now,
        seconds=world.seconds,
        starts=world.settings.auto_start,
        failure=failure,
        exits=exits,
    )
    machine = plan_random_reclaim(world, machine, now)
    if fate is not None:
        machine = _apply_fate(world, machine, fate)
    world.add(machine)
    return machine


def plan_random_reclaim(world: World, machine: Machine, now: datetime) -> Machine:
    """Plan when a spot machine is taken back by itself: never before the guaranteed time."""
    settings = world.settings
    if machine.order.billing_mode != "spot" or settings.spot_lifetime_seconds <= 0:
        return machine
    lives = settings.spot_guaranteed_seconds + world.rng.expovariate(
        1 / settings.spot_lifetime_seconds
    )
    notice_at = machine_life.runs_at(machine, now) + timedelta(seconds=lives)
    return machine_life.plan_reclaim(machine, now, make_reclaim(world, notice_at))


def make_reclaim(world: World, notice_at: datetime) -> Reclaim:
    """Return the reclaim that the settings prescribe, for a notice at ``notice_at``."""
    settings = world.settings
    return Reclaim(
        at=notice_at + timedelta(seconds=settings.spot_notice_seconds),
        notice_at=None if settings.spot_notice == "none" else notice_at,
        takes=timedelta(seconds=world.seconds("reclaiming")),
        is_time_told=settings.spot_notice != "zero",
        vanishes=settings.spot_end == "vanished",
    )


def _rename(order: Order, world: World) -> Order:
    """Return the order under the name that the settings make of the one that was sent."""
    name = order.name[: world.settings.name_max_chars or None]
    cases = {"lower": name.lower(), "upper": name.upper()}
    return replace(order, name=cases.get(world.settings.name_case, name))


def _find_product(world: World, order: Order) -> Product:
    product = world.products.get(order.product_id)
    if product is None:
        raise invalid(f"productId: {order.product_id} is not sold")
    if order.rootfs_gb > product.max_rootfs_gb:
        raise invalid(f"rootfsSize: at most {product.max_rootfs_gb}")
    if order.cluster_id and order.cluster_id not in world.clusters:
        raise invalid(f"clusterId: {order.cluster_id} is unknown")
    has_no_spot = order.billing_mode == "spot" and product.spot_price == 0
    if order.billing_mode not in product.billing_modes or has_no_spot:
        raise Refusal(400, "UNSUPPORTED_BILLING_MODE", "billing mode not supported")
    if _parse_version(order.min_cuda) > _parse_version(world.settings.cuda_version):
        raise Refusal(400, "CUDA_VERSION_INCOMPATIBLE", "no host with this CUDA version")
    return product


def _check_account(world: World, order: Order) -> None:
    settings = world.settings
    if world.is_out_of_money():
        raise no_balance()
    if settings.quota_gpus is None:
        return
    if world.held_gpus(world.now()) + order.gpu_num > settings.quota_gpus:
        raise over_quota(settings.quota_refusal, settings.quota_gpus)


def _choose_cluster(world: World, order: Order, product: Product) -> str:
    """Return the cluster that takes the machine: the one asked for, or any with stock."""
    wanted = [order.cluster_id] if order.cluster_id else sorted(product.stock)
    able = [
        cluster_id
        for cluster_id in wanted
        if can_sell(product, world.stock(product, cluster_id), order.gpu_num)
    ]
    if not able:
        raise out_of_stock()
    return world.rng.choice(able)


def _plan_failure(
    world: World, order: Order, fate: Fate | None
) -> tuple[tuple[str, str] | None, bool]:
    """Return how the boot fails, if it does, and whether the machine then exits."""
    exits = world.settings.boot_error_leaves == "exited"
    if fate is not None and fate.kind == "boot-error":
        return (fate.state, fate.message), exits if fate.exited is None else fate.exited
    if order.image in world.settings.broken_images:
        return ("ImagePullFailed", f"failed to pull image {order.image}: not found"), exits
    is_private = order.image.startswith(world.settings.private_registries)
    if is_private and not order.image_auth and order.image_auth_id not in world.credentials:
        return ("ImagePullFailed", f"failed to pull image {order.image}: unauthorized"), exits
    return None, False


def _apply_fate(world: World, machine: Machine, fate: Fate) -> Machine:
    """Let a scripted fate befall a machine that has just been bought."""
    after = timedelta(seconds=fate.after_seconds)
    now = world.now()
    if fate.kind == "pull-forever":
        return machine_life.pull_for_ever(machine)
    if fate.kind == "vanish":
        return machine_life.vanish(machine, now + after)
    if fate.kind == "exit":
        ends_at = machine_life.runs_at(machine, now) + after
        return machine_life.end_process(machine, ends_at, behaviour=world.settings.process_exit)
    if fate.kind == "reclaim":
        reclaim = make_reclaim(world, machine_life.runs_at(machine, now) + after)
        return machine_life.plan_reclaim(machine, now, reclaim)
    return machine


def _parse_version(text: str) -> tuple[int, ...]:
    """Return ``12.4`` as numbers; raise :class:`Refusal` for anything else."""
    parts = text.split(".") if text else []
    if not all(part.isdecimal() for part in parts):
        raise invalid("minCudaVersion: a version such as 12.4")
    return tuple(int(part) for part in parts)
