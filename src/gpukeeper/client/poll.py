"""Look at an instance again and again until it is where it should be."""

from collections.abc import Callable, Collection
from datetime import timedelta

from gpukeeper.client.problems import WaitTimedOut, is_temporary
from gpukeeper.contract.instances import Instance
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Status

# Statuses that nothing but a new order or wish leads out of: waiting on would be in vain.
FINAL_STATUSES: frozenset[str] = frozenset(
    {Status.STOPPED, Status.DELETED, Status.FAILED, Status.RECLAIMED, Status.LOST}
)

# The first look comes soon enough for a machine that is up at once; the later ones are as
# frequent as a person watching wants, and cost the service one read of a row.
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 5.0
_GROWTH = 1.25

# Within so much of `running` its SSH command is known, or there is none.
_CONNECTION_SECONDS = 5.0
_CONNECTION_PAUSE_SECONDS = 0.5

# A restart of the service is over by then.
_PATIENCE_SECONDS = 60.0


def poll_until(
    look: Callable[[], Instance],
    *,
    until: Collection[str],
    timeout: timedelta,
    on_change: Callable[[Instance], None],
    on_trouble: Callable[[GpuKeeperError], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Instance:
    """Return the instance once its status is one of ``until``, or one that it will not leave.

    ``on_change`` is told of the first look, of every change, and of the first look after trouble.
    Raises WaitTimedOut; ApiProblem or ServiceUnreachable when looking fails for good, or for a
    minute on end.
    """
    began = last_answer = clock()
    pause = _FIRST_PAUSE_SECONDS
    seen: Instance | None = None
    reached_at: float | None = None
    is_troubled = False
    while True:
        try:
            latest = look()
            now = clock()
        except GpuKeeperError as error:
            now = clock()
            patience = min(_PATIENCE_SECONDS, timeout.total_seconds())
            if not is_temporary(error) or now - last_answer >= patience:
                raise
            is_troubled = True
            on_trouble(error)
        else:
            last_answer = now
            if seen is None or is_troubled or _has_changed(seen, latest):
                on_change(latest)
            seen, is_troubled = latest, False
            is_there = latest.status in until or latest.status in FINAL_STATUSES
            reached_at = (now if reached_at is None else reached_at) if is_there else None
            if reached_at is not None and (
                _is_connection_known(latest) or now - reached_at >= _CONNECTION_SECONDS
            ):
                return latest
        left = timeout.total_seconds() - (now - began)
        if left <= 0 and reached_at is not None and seen is not None:
            return seen
        if left <= 0:
            assert seen is not None, "without any answer the patience ends first"
            raise WaitTimedOut(
                f"'{seen.name}' ({seen.id}) is still {seen.status} "
                f"after {timeout.total_seconds():g} s.",
                instance=seen,
            )
        if reached_at is not None:
            sleep(min(_CONNECTION_PAUSE_SECONDS, left))
            continue
        sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)


def _is_connection_known(instance: Instance) -> bool:
    """Whether there is nothing more to learn of how to reach it.

    The service asks for the SSH command a second after a machine has come up, so it is late until
    Novita has been looked at since; a machine whose template opens no SSH never has one.
    """
    if instance.status != Status.RUNNING or instance.ssh_command:
        return True
    running_at, observed_at = instance.running_at, instance.observed_at
    return running_at is not None and observed_at is not None and observed_at > running_at


def _has_changed(before: Instance, after: Instance) -> bool:
    return (before.status, before.novita_status, before.is_stale) != (
        after.status,
        after.novita_status,
        after.is_stale,
    )
