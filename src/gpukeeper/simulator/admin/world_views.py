"""The world as the admin API shows it: the truth behind Novita's responses."""

from collections import Counter
from decimal import Decimal
from typing import Any, get_args

from gpukeeper.simulator.billing import compute_bill
from gpukeeper.simulator.json_codec import encode
from gpukeeper.simulator.machines.interventions import ACTIONS
from gpukeeper.simulator.machines.machine import GONE, Machine
from gpukeeper.simulator.machines.scripted_fates import FateKind
from gpukeeper.simulator.novita_api.fault_rules import FAULT_KINDS, ROUTE_NAMES, FaultRule
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import meanings

Json = dict[str, Any]


def describe_world(world: World) -> Json:
    """Return the world in short, and everything that can be scripted."""
    now = world.now()
    moments = (machine.at(now) for machine in world.machines.values())
    return {
        "clock": describe_clock(world),
        "machines": Counter(moment.status if moment else GONE for moment in moments),
        "balance_usd": world.balance(),
        "requests": world.journal.counts(),
        "routes": list(ROUTE_NAMES),
        "faults": FAULT_KINDS,
        "actions": {name: action.does for name, action in ACTIONS.items()},
        "fates": list(get_args(FateKind)),
        "settings": meanings(),
    }


def describe_clock(world: World) -> Json:
    """Return the simulated time and how it passes."""
    mode = "manual" if world.clock.is_manual else "real"
    return {"now": world.now(), "mode": mode, "speed": world.clock.speed}


def describe_machine(world: World, found: Machine) -> Json:
    """Return the inner truth of one machine: its past, its planned future and its bill."""
    now = world.now()
    moment = found.at(now)
    return {
        "id": found.id,
        "name": found.order.name,
        "status": moment.status if moment else GONE,
        "cluster_id": found.cluster_id,
        "order": found.order,
        "price": found.price,
        "created_at": found.created_at,
        "replays": found.replays,
        "reclaim": found.reclaim,
        "past": [item for item in found.moments if item.at <= now],
        "future": [item for item in found.moments if item.at > now],
        "bill": compute_bill(found, now, world.settings.disk_usd_per_gb_day),
    }


def summarize_machine(world: World, found: Machine) -> Json:
    """Return one line about a machine."""
    moment = found.at(world.now())
    return {
        "id": found.id,
        "name": found.order.name,
        "status": moment.status if moment else GONE,
        "product_id": found.order.product_id,
        "cluster_id": found.cluster_id,
        "created_at": found.created_at,
    }


def describe_ledger(world: World) -> Json:
    """Return every machine's bill and the sums that a test wants to assert."""
    bills = world.bills()
    return {
        "now": world.now(),
        "machines": [encode(item) for item in bills],
        "alive": [item.id for item in bills if item.is_alive],
        "billed_now": [item.id for item in bills if item.is_billed_now],
        "billed_gpu_seconds": sum(item.billed_gpu_seconds for item in bills),
        "usd": sum((item.usd for item in bills), start=Decimal(0)),
        "balance_usd": world.balance(),
    }


def describe_stock(world: World) -> list[Json]:
    """Return the true stock of every offer, and the scripted one that is shown instead."""
    return [
        encode(world.stock(product, cluster_id)) | {"shown": product.shown.get(cluster_id)}
        for product in world.products.values()
        for cluster_id in product.stock
    ]


def describe_rule(found: FaultRule) -> Json:
    """Return a fault rule, and how often it struck."""
    return {
        "id": found.id,
        "done": found.done,
        "to_skip": found.to_skip,
        "ends_at": found.ends_at,
        **encode(found.fault),
    }
