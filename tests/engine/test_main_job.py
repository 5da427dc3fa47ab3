"""The main job: an order becomes a running machine, is watched, and every change is announced."""

import json
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.errors import InvalidOrder
from gpukeeper.domain.instances import Command, OnFailure, Status
from gpukeeper.domain.products import BillingMode
from gpukeeper.service import OrderRefused
from tests.engine.conftest import Build
from tests.engine.rig import HOOK, Rig


async def test_an_order_is_bought_watched_and_announced(rig: Rig) -> None:
    ordered = await rig.order()
    assert ordered.status is Status.CREATING
    assert rig.machines() == [ordered.machine.novita_id]
    await rig.advance(minutes=2)
    running = await rig.find(ordered.id)
    assert running.status is Status.RUNNING
    assert running.machine.endpoints
    assert await rig.history(ordered.id) == ["requested", "created", "starting", "running"]
    bodies = [json.loads(body) for _, _, body in rig.receiver.bodies]
    reached = "instance.connection_changed"
    assert [body["type"] for body in bodies] == ["instance.created", "instance.running", reached]
    assert bodies[1]["data"]["instance"]["status"] == "running"
    assert bodies[1]["data"]["previousStatus"] == "starting"
    assert bodies[2]["data"]["instance"]["sshCommand"] == running.machine.ssh_command


async def test_the_cheapest_spot_offer_of_the_exact_name_is_bought(rig: Rig) -> None:
    ordered = await rig.order()
    assert (ordered.machine.product_id, ordered.machine.price_per_hour) == (
        "4090.16c62g",
        Decimal("0.175"),
    )
    assert ordered.machine.cluster_id == "cn-hongkong-1"
    machine = rig.world.machines[str(ordered.machine.novita_id)]
    assert (machine.order.gpu_num, machine.order.rootfs_gb) == (1, 60)
    assert machine.order.billing_mode == BillingMode.SPOT


async def test_a_machine_that_starts_by_itself_is_not_started_again(rig: Rig) -> None:
    await rig.running()
    assert rig.calls("start") == 0


async def test_a_machine_found_exited_is_started(rig: Rig) -> None:
    ordered = await rig.order()
    rig.console(ordered, "stop")
    rig.console(ordered, "finish")
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert rig.calls("start") == 1


async def test_a_machine_that_is_not_running_in_time_has_failed_and_is_kept(rig: Rig) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order()
    await rig.advance(seconds=599)
    assert (await rig.find(ordered.id)).status is Status.STARTING
    await rig.advance(seconds=2)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "startup_timeout"
    assert "pulling" in failed.reason.message
    assert failed.is_watched
    assert rig.machines() == [ordered.machine.novita_id]
    assert json.loads(rig.receiver.bodies[-1][2])["type"] == "instance.failed"


async def test_a_failed_start_up_is_deleted_and_verified_gone_if_the_order_says_so(
    rig: Rig,
) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order(on_failure=OnFailure.DELETE)
    await rig.advance(minutes=12)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert rig.machines() == []
    assert (await rig.history(ordered.id))[-3:] == ["failed", "deleting", "deleted"]


async def test_a_boot_error_fails_at_the_next_look_with_novitas_words(rig: Rig) -> None:
    rig.fate("boot-error", message="manifest unknown")
    ordered = await rig.order()
    await rig.advance(minutes=1)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "boot_failed"
    assert "manifest unknown" in failed.reason.message


async def test_a_machine_that_comes_up_after_its_deadline_is_running_after_all(rig: Rig) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order()
    await rig.advance(minutes=11)
    rig.console(ordered, "finish")
    await rig.advance(minutes=2)
    assert (await rig.find(ordered.id)).status is Status.RUNNING


async def test_without_a_webhook_everything_goes_on(build: Build) -> None:
    rig = build(environ={"GPUKEEPER_WEBHOOK_URL": ""})
    running = await rig.running()
    assert await rig.delivery_statuses() == []
    assert await rig.history(running.id) == ["requested", "created", "starting", "running"]


async def test_the_callers_own_webhook_is_told_as_well(rig: Rig) -> None:
    own = "https://caller.example/hook"
    await rig.running(webhook_url=own)
    assert sorted(url for url, _, _ in rig.receiver.bodies) == sorted([HOOK, own] * 3)


async def test_the_template_and_the_order_make_the_machine(rig: Rig) -> None:
    await rig.order(envs={"RUN": "7"}, command="python train.py")
    (machine,) = rig.world.machines.values()
    template = rig.world.templates["tpl-basic"]
    assert machine.order.image == template.image
    envs = {env.key: env.value for env in machine.order.envs}
    assert envs == {**{env.key: env.value for env in template.envs}, "RUN": "7"}
    assert machine.order.command == "python train.py"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"product_name": "RTX 9999"}, "product_not_found"),
        ({"product_name": "RTX"}, "product_not_found"),
        ({"template_id": "nope"}, "template_not_found"),
        ({"region": "MARS-01"}, "region_not_found"),
        ({"rootfs_size_gb": 6000}, "out_of_stock"),
        ({"max_price_per_hour": Decimal("0.01")}, "price_above_limit"),
    ],
)
async def test_an_order_that_nothing_fits_is_refused_and_leaves_nothing(
    rig: Rig, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises((InvalidOrder, OrderRefused)) as refusal:
        await rig.order(**changes)
    assert refusal.value.error_code == code
    assert (await rig.service.instances(limit=9)).total == 0
    assert await rig.delivery_statuses() == []
    assert rig.machines() == []
    assert rig.calls("create") == 0


async def test_a_part_of_a_name_that_only_one_product_has_is_enough(rig: Rig) -> None:
    ordered = await rig.order(product_name="3090")
    assert ordered.machine.product_name == "RTX 3090 24GB"


async def test_what_has_ended_is_left_out_of_what_is_current(rig: Rig) -> None:
    running = await rig.running()
    deleted = await rig.order(name="gone")
    await rig.service.want(deleted.id, Command.DELETE)
    await rig.advance(minutes=3)
    current = await rig.service.instances(is_current=True, limit=9)
    assert [view.instance.id for view in current.views] == [running.id]
    both = await rig.service.instances(statuses=[Status.DELETED, Status.RUNNING], limit=9)
    assert [view.instance.id for view in both.views] == [deleted.id, running.id]
    assert (await rig.service.instances(statuses=[Status.STOPPED], limit=9)).views == ()


async def test_templates_and_regions_are_listed_for_those_who_order(rig: Rig) -> None:
    assert "tpl-basic" in [template.id for template in await rig.service.templates()]
    assert "CN-HK-01" in [cluster.region for cluster in await rig.service.regions()]
