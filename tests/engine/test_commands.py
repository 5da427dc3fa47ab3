"""Start, stop, restart and delete: asked once, repeated when lost, done when Novita shows it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command, Status
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Phase
from gpukeeper.store import instances
from tests.engine.rig import Rig


async def test_a_machine_is_stopped_and_started_again(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    stopped = await rig.find(running.id)
    assert stopped.status is Status.STOPPED
    assert rig.calls("stop") == 1
    await rig.service.want(running.id, Command.START)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.RUNNING
    assert rig.calls("start") == 1
    history = await rig.history(running.id)
    assert history[-4:] == ["stopping", "stopped", "starting", "running"]


async def test_a_stop_right_after_a_start_is_carried_out_though_a_listing_lags(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    await rig.service.want(running.id, Command.START)
    await rig.work()
    rig.clock.at += timedelta(seconds=1)
    await rig.service.want(running.id, Command.STOP)
    stale = replace(
        await rig.novita.get(str(running.machine.novita_id)), word="exited", phase=Phase.DOWN
    )
    await rig.database.write(
        lambda c: instances.change(
            c,
            running.id,
            lambda row: observe(row, stale, rig.clock(), Limits()),
            rig.clock(),
            rig.service.outbox,
        )
    )
    await rig.advance(minutes=6)
    assert (await rig.find(running.id)).status is Status.STOPPED
    assert rig.calls("stop") >= 2
    moment = rig.world.machines[str(running.machine.novita_id)].at(rig.world.now())
    assert moment is not None
    assert moment.status == "exited"


async def test_a_restart_ends_running_again(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.RESTART)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.RUNNING
    assert rig.calls("restart") == 1
    assert (await rig.history(running.id))[-2:] == ["starting", "running"]


async def test_a_deleted_machine_is_gone_before_its_row_says_so(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.DELETE)
    await rig.work()
    assert (await rig.find(running.id)).status is Status.DELETING
    await rig.advance(minutes=2)
    deleted = await rig.find(running.id)
    assert deleted.status is Status.DELETED
    assert deleted.deleted_at is not None
    assert rig.machines() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["reset", "error", "html"])
async def test_a_delete_whose_answer_was_lost_is_repeated_until_it_is_gone(
    rig: Rig, kind: str, when: str
) -> None:
    running = await rig.running()
    rig.fault(kind, "delete", when=when, times=2)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert rig.machines() == []


async def test_a_delete_that_hangs_at_novita_stays_deleting_and_is_repeated(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "hang-delete", for_seconds=600)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=9)
    assert (await rig.find(running.id)).status is Status.DELETING
    assert rig.calls("delete") > 1
    await rig.advance(minutes=10)
    assert (await rig.find(running.id)).status is Status.DELETED


@pytest.mark.parametrize("style", ["404", "400", "404-typo"])
async def test_absence_is_understood_in_every_spelling(rig: Rig, style: str) -> None:
    running = await rig.running()
    rig.switch(not_found=style)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.DELETED


async def test_a_verb_that_took_effect_and_was_refused_is_no_failure(rig: Rig) -> None:
    running = await rig.running()
    rig.switch(state_change="acts-and-refuses")
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.STOPPED
    await rig.service.want(running.id, Command.START)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.RUNNING


async def test_a_start_without_a_free_gpu_fails_and_keeps_the_machine(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    rig.switch(start_refused_after_stop=1.0)
    await rig.service.want(running.id, Command.START)
    await rig.advance(minutes=2)
    failed = await rig.find(running.id)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "out_of_stock"
    assert rig.machines() == [running.machine.novita_id]


async def test_a_machine_that_pulls_for_ever_cannot_be_stopped_and_its_owner_is_told(
    rig: Rig,
) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order()
    await rig.advance(minutes=1)
    await rig.service.want(ordered.id, Command.STOP)
    await rig.advance(minutes=9)
    assert (await rig.find(ordered.id)).status is Status.STOPPING
    await rig.advance(minutes=2)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "startup_timeout"
    assert (await rig.history(ordered.id))[-2:] == ["stopping", "failed"]
    # Should it come up after all, it is stopped as its owner wanted.
    rig.console(failed, "finish")
    await rig.advance(minutes=6)
    assert (await rig.find(ordered.id)).status is Status.STOPPED


async def test_a_machine_can_be_deleted_while_it_is_coming_up(rig: Rig) -> None:
    ordered = await rig.order()
    await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert rig.machines() == []


async def test_verbs_that_make_no_sense_are_refused(rig: Rig) -> None:
    running = await rig.running()
    with pytest.raises(WrongStatus):
        await rig.service.want(running.id, Command.START)
    await rig.service.want(running.id, Command.DELETE)
    for verb in (Command.START, Command.STOP, Command.RESTART):
        with pytest.raises(WrongStatus):
            await rig.service.want(running.id, verb)
    again = await rig.service.want(running.id, Command.DELETE)
    assert again.instance.status is Status.DELETING


async def test_the_password_is_given_for_a_running_machine_only(rig: Rig) -> None:
    ordered = await rig.order()
    with pytest.raises(WrongStatus):
        await rig.service.connection(ordered.id)
    await rig.advance(minutes=2)
    access = await rig.service.connection(ordered.id)
    assert access.ssh_command.startswith("ssh -p")
    assert access.ssh_password


async def test_a_stop_that_cannot_work_is_refused_and_the_reason_of_the_failure_stays(
    rig: Rig,
) -> None:
    rig.fate("boot-error", state="ImagePullFailed", message="not found")
    ordered = await rig.order()
    await rig.advance(minutes=2)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    with pytest.raises(WrongStatus, match=r"What can be asked of it now: delete\."):
        await rig.service.want(ordered.id, Command.STOP)
    await rig.advance(minutes=15)
    assert (await rig.find(ordered.id)).reason == failed.reason
    assert rig.calls("stop") == 0


async def test_a_machine_that_cannot_come_up_any_more_is_not_waited_for_to_be_stopped(
    rig: Rig,
) -> None:
    rig.fate("boot-error", state="ImagePullFailed", message="not found")
    ordered = await rig.order()
    await rig.service.want(ordered.id, Command.STOP)
    await rig.advance(minutes=2)
    failed = await rig.find(ordered.id)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "boot_failed"
