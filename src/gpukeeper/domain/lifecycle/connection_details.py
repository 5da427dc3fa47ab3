"""How a machine is reached, and when Novita is asked for it: listings leave the SSH command out.

The SSH port and password change with every start (API notes §3.3).
"""

from datetime import datetime, timedelta

from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.machines import Observation, Phase

# How long after a machine came up the one question about it alone is asked.
SSH_QUERY_AFTER = timedelta(seconds=1)


def is_outdated(instance: Instance, seen: Observation) -> bool:
    """Whether a listing shows that a machine that is up was started anew since it was seen.

    Addresses are compared between two listings only: an answer about one machine that writes
    them differently must not turn every sweep into a question.
    """
    if not instance.machine.phase is seen.phase is Phase.UP:
        return False
    known, started_at = instance.machine.last_start_at, seen.started_at
    if known is not None and started_at is not None and started_at != known:
        return started_at > known
    is_after_listing = instance.watch.seen_fingerprint is not None
    return is_after_listing and seen.endpoints != instance.machine.endpoints


def known_ssh_command(instance: Instance, seen: Observation, *, is_single: bool) -> str | None:
    """Return the SSH command that is known after this was seen; it holds until the next start."""
    if seen.ssh_command:
        return seen.ssh_command
    is_still_up = instance.machine.phase is seen.phase is Phase.UP
    holds = is_still_up and not is_single and not is_outdated(instance, seen)
    return instance.machine.ssh_command if holds else None


def last_start(instance: Instance, seen: Observation) -> datetime | None:
    """Return the last start that Novita has shown; a listing that lags takes nothing back."""
    return max(filter(None, (instance.machine.last_start_at, seen.started_at)), default=None)


def next_ssh_query_at(
    instance: Instance, seen: Observation, now: datetime, *, is_single: bool
) -> datetime | None:
    """Return when a running machine's SSH command is to be asked for, if that is yet to come."""
    if is_single or instance.status is not Status.RUNNING:
        return None
    if is_outdated(instance, seen) and not seen.ssh_command:
        return now + SSH_QUERY_AFTER
    at = instance.watch.confirm_at
    return None if at is None or at <= seen.at else at
