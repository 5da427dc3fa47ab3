"""New rows: of an order that was just placed, and of a machine that is taken in."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gpukeeper.domain import ids
from gpukeeper.domain.instances import DesiredState, Instance, Order, Status
from gpukeeper.domain.lifecycle import observations
from gpukeeper.domain.lifecycle.transitions import Limits, change_status
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.products import BillingMode

# As much as the columns of these names hold; a machine may be called anything.
_NAME_MAX_CHARS = 64
_UNIQUE_NAME_MAX_CHARS = 80
_DIGEST_BYTES = 8

RandomBytes = Callable[[int], bytes]


def create_from_order(
    order: Order,
    now: datetime,
    *,
    deployment: str,
    region: str,
    random_bytes: RandomBytes,
    traceparent: str | None = None,
    novita_name: str | None = None,
) -> Instance:
    """Return the row of a new order, due at once; ``region`` serves orders without one.

    Its machine has a name by chance unless one is given.
    """
    return Instance(
        id=ids.new_id("ins", now, random_bytes(10)),
        novita_name=novita_name or ids.novita_name(order.name, deployment, random_bytes(5)),
        order=replace(order, region=order.region or region),
        status=Status.REQUESTED,
        desired_state=DesiredState.RUNNING,
        created_at=now,
        deadline_at=now + order.startup_timeout,
        due_at=now,
        traceparent=traceparent,
    )


def is_open(instance: Instance) -> bool:
    """Whether an order is still being bought and its answer not lost."""
    intent = instance.purchase.intent
    is_looked_up = intent is not None and intent.lookup_at is not None
    return instance.status is Status.REQUESTED and not is_looked_up


def create_from_machine(
    machine: Observation,
    now: datetime,
    *,
    deployment: str,
    random_bytes: RandomBytes,
    is_name_free: bool = False,
    traceparent: str | None = None,
) -> Instance:
    """Return the row of a machine that Novita has and the store did not know."""
    mode = machine.billing_mode
    order = Order(
        name=ids.ordered_name(machine.name)[:_NAME_MAX_CHARS],
        product_name=machine.product_name or "unknown",
        template_id="",
        gpu_num=machine.gpu_num or 1,
        rootfs_size_gb=machine.rootfs_size_gb,
        billing_mode=BillingMode(mode) if mode in set(BillingMode) else BillingMode.SPOT,
    )
    row = create_from_order(
        order,
        now,
        deployment=deployment,
        region=machine.region,
        random_bytes=random_bytes,
        traceparent=traceparent,
    )
    return attach_machine(row, machine, now, is_name_free=is_name_free)


def attach_machine(
    row: Instance, machine: Observation, now: datetime, *, is_name_free: bool
) -> Instance:
    """Return the row with a machine that Novita has; its name may belong to another row."""
    is_kept = is_name_free and len(machine.name) <= _UNIQUE_NAME_MAX_CHARS
    return replace(
        row,
        # Its own name, where that can be: a repeated order finds the row by it.
        novita_name=machine.name if is_kept else _unique_name(machine),
        status=Status.CREATING,
        started_at=now,
        machine=replace(
            row.machine.identify(machine),
            region=machine.region,
            image_url=machine.image_url or None,
        ),
        purchase=replace(row.purchase, accepted_at=now),
    )


def settle_adopted(row: Instance, machine: Observation, now: datetime, limits: Limits) -> Instance:
    """Return the row of an adopted machine as it was found; one that is down is left so."""
    seen = observations.observe(row, machine, now, limits)
    left_as = _LEFT_AS.get(machine.phase)
    if left_as is None or seen.status is not Status.CREATING:
        return seen
    return change_status(seen, left_as, now, desired_state=DesiredState.STOPPED)


def _unique_name(machine: Observation) -> str:
    name = ids.adopted_name(machine.name, machine.novita_id)
    if len(name) <= _UNIQUE_NAME_MAX_CHARS:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{name[: _UNIQUE_NAME_MAX_CHARS - len(digest) - 1]}#{digest}"


# To start a machine costs money, which nobody asked for.
_LEFT_AS = {Phase.DOWN: Status.STOPPED, Phase.GOING_DOWN: Status.STOPPING}
