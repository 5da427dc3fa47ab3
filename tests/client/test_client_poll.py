"""Waiting ends when it should, and not before."""

from datetime import timedelta

import httpx2
import pytest

from gpukeeper.client import ApiProblem, InstanceInfo, NotRunning, ServiceUnreachable, WaitTimedOut
from gpukeeper.domain.errors import GpuKeeperError
from tests.client.fake_service import INSTANCE, FakeService, FakeTime, problem

ROUTE = "GET /api/instances/ins_01k"
CREATING = INSTANCE | {"status": "creating", "novitaStatus": "toCreate"}
PULLING = INSTANCE | {"status": "starting", "novitaStatus": "pulling"}
REFUSED = httpx2.ConnectError("[Errno 111] Connection refused")


class Watcher:
    """Waits with a fake time and keeps what it is told."""

    def __init__(self, *replies: httpx2.Response | Exception | dict[str, object]) -> None:
        self.time = FakeTime()
        self.service = FakeService()
        self.service.reply(ROUTE, *replies)
        self.told: list[str] = []

    def wait(self, *, until: str = "running", timeout: timedelta = timedelta(minutes=15)) -> str:
        """Return the status that waiting ended with."""

        def on_change(instance: InstanceInfo) -> None:
            self.told.append(f"{instance.status}/{instance.novita_status}")

        def on_trouble(error: GpuKeeperError) -> None:
            self.told.append(error.error_code)

        return (
            self.service.connect()
            .wait(
                "ins_01k",
                until={until},
                timeout=timeout,
                on_change=on_change,
                on_trouble=on_trouble,
                clock=self.time.clock,
                sleep=self.time.sleep,
            )
            .status
        )


def test_waiting_ends_at_running_and_tells_each_change_once() -> None:
    watcher = Watcher(CREATING, PULLING, PULLING, INSTANCE)
    assert watcher.wait() == "running"
    assert watcher.told == ["creating/toCreate", "starting/pulling", "running/running"]


def test_an_instance_that_is_there_already_is_not_waited_for() -> None:
    watcher = Watcher(INSTANCE)
    assert watcher.wait() == "running"
    assert watcher.time.pauses == []


@pytest.mark.parametrize("end", ["failed", "stopped", "deleted", "reclaimed", "lost"])
def test_waiting_ends_at_a_status_that_is_not_left_again(end: str) -> None:
    assert Watcher(CREATING, INSTANCE | {"status": end}).wait() == end


def test_a_deletion_can_be_waited_for() -> None:
    watcher = Watcher(INSTANCE | {"status": "deleting"}, INSTANCE | {"status": "deleted"})
    assert watcher.wait(until="deleted") == "deleted"


def test_pauses_grow_from_two_to_five_seconds() -> None:
    watcher = Watcher(*[CREATING] * 6, INSTANCE)
    watcher.wait()
    assert watcher.time.pauses == [2.0, 2.5, 3.125, 3.90625, 4.8828125, 5.0]


def test_waiting_gives_up_in_time_and_says_where_the_instance_is() -> None:
    watcher = Watcher(PULLING)
    with pytest.raises(WaitTimedOut, match="still starting after 10 s") as late:
        watcher.wait(timeout=timedelta(seconds=10))
    assert late.value.instance.status == "starting"
    assert sum(watcher.time.pauses) == 10


def test_a_restart_of_the_service_does_not_end_the_wait() -> None:
    unavailable = httpx2.Response(502, text="bad gateway")
    watcher = Watcher(CREATING, REFUSED, unavailable, CREATING, INSTANCE)
    assert watcher.wait() == "running"
    assert watcher.told == [
        "creating/toCreate",
        "service_unreachable",
        "service_unreachable",
        "creating/toCreate",
        "running/running",
    ]


def test_a_problem_that_passes_does_not_end_the_wait() -> None:
    assert Watcher(problem(503, "novita_unavailable"), INSTANCE).wait() == "running"


def test_a_minute_without_an_answer_ends_the_wait() -> None:
    watcher = Watcher(CREATING, REFUSED)
    with pytest.raises(ServiceUnreachable):
        watcher.wait()
    assert 60 <= sum(watcher.time.pauses) <= 70


def test_a_service_that_never_answers_is_not_waited_for_longer_than_asked() -> None:
    watcher = Watcher(REFUSED)
    with pytest.raises(ServiceUnreachable):
        watcher.wait(timeout=timedelta(seconds=20))
    assert sum(watcher.time.pauses) == 20


@pytest.mark.parametrize("code", ["instance_not_found", "unauthorized"])
def test_a_problem_that_stays_ends_the_wait_at_once(code: str) -> None:
    watcher = Watcher(problem(404, code))
    with pytest.raises(ApiProblem):
        watcher.wait()
    assert watcher.time.pauses == []


def test_waiting_until_it_runs_returns_the_running_instance() -> None:
    service = FakeService()
    service.reply(ROUTE, INSTANCE)
    assert service.connect().wait_until_running("ins_01k").status == "running"


@pytest.mark.parametrize(
    ("reason", "code", "message"),
    [
        (
            {"code": "boot_failed", "message": "No."},
            "boot_failed",
            "'trainer' (ins_01k) is failed: No.",
        ),
        (None, "not_running", "'trainer' (ins_01k) is failed."),
    ],
)
def test_waiting_until_it_runs_raises_when_it_will_not(
    reason: dict[str, str] | None, code: str, message: str
) -> None:
    service = FakeService()
    service.reply(ROUTE, INSTANCE | {"status": "failed", "reason": reason})
    with pytest.raises(NotRunning) as failure:
        service.connect().wait_until_running("ins_01k")
    assert (failure.value.error_code, failure.value.message) == (code, message)
    assert failure.value.instance.status == "failed"


def up(*, seen_after: bool = False, **changes: object) -> dict[str, object]:
    """Return a running instance without SSH command; ``seen_after`` it was said to run."""
    observed_at = f"2026-11-23T05:14:0{3 if seen_after else 2}.400Z"
    return INSTANCE | {"sshCommand": None, "observedAt": observed_at} | changes


def test_waiting_for_running_ends_with_the_ssh_command() -> None:
    watcher = Watcher(PULLING, up(), up(), INSTANCE)
    assert watcher.wait() == "running"
    assert watcher.time.pauses == [2.0, 0.5, 0.5]


def test_a_machine_without_ssh_is_not_waited_for_once_it_was_looked_at_again() -> None:
    watcher = Watcher(up(seen_after=True))
    assert watcher.wait() == "running"
    assert watcher.time.pauses == []


@pytest.mark.parametrize(("timeout", "waited"), [(60, 5.0), (2, 2.0)])
def test_an_ssh_command_that_does_not_come_is_no_failure(timeout: int, waited: float) -> None:
    watcher = Watcher(up())
    assert watcher.wait(timeout=timedelta(seconds=timeout)) == "running"
    assert sum(watcher.time.pauses) == waited


def test_what_will_not_run_is_not_waited_for() -> None:
    watcher = Watcher(up(status="failed"))
    assert watcher.wait() == "failed"
    assert watcher.time.pauses == []
