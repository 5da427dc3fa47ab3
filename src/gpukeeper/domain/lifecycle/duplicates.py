"""Duplicates: machines that an order bought and does not need, which are deleted.

Novita's create is not idempotent.  A purchase whose answer was lost may take effect after its
look-up has ended and another machine was bought; then two machines carry the name that only one
order of ours has.  The one that the order already has is kept, else the oldest.  A second machine
of an order that never lost an answer was not bought by this store (an older copy of it may have
been restored): it is left to a person, as an orphan.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from gpukeeper.domain.backoff import exponential_delay
from gpukeeper.domain.instances import Duplicate, Instance, Status
from gpukeeper.domain.lifecycle.transitions import CONFIRM_DELETION_AFTER, Limits


def is_awaiting_machine(instance: Instance) -> bool:
    """Whether a machine of this row's name may still become the row's own."""
    is_open = instance.status is Status.REQUESTED or instance.purchase.intent is not None
    return instance.machine.novita_id is None and is_open


def is_duplicate(instance: Instance, novita_id: str) -> bool:
    """Whether a machine of exactly this row's name is provably ours and one too many."""
    is_own = instance.machine.novita_id == novita_id
    return instance.purchase.has_lost_answer and not is_own and not is_awaiting_machine(instance)


def record_duplicates(
    instance: Instance, novita_ids: Iterable[str], at: datetime, limits: Limits
) -> Instance:
    """Return the instance with these machines of its name, which were seen then, to be deleted.

    Those that are known change nothing, but for one that was taken for gone and is still shown
    when listings cannot lag behind any more.
    """
    known = {machine.novita_id: machine for machine in instance.duplicates}
    for novita_id in novita_ids:
        machine = known.get(novita_id)
        if machine is None or _is_back(machine, at, limits):
            known[novita_id] = Duplicate(novita_id, found_at=at, try_at=at)
    return replace(instance, duplicates=tuple(known.values()))


def record_deletion_attempt(
    instance: Instance,
    novita_id: str,
    now: datetime,
    limits: Limits,
    *,
    is_known: bool,
    is_accepted: bool,
) -> Instance:
    """Return the instance after Novita was asked about a duplicate, and to delete it.

    One that Novita does not know is gone, unless it may be too new to be in every answer.
    """
    return replace(
        instance,
        duplicates=tuple(
            _tried(machine, now, limits, is_known=is_known, is_accepted=is_accepted)
            if machine.novita_id == novita_id
            else machine
            for machine in instance.duplicates
        ),
    )


def _tried(
    machine: Duplicate, now: datetime, limits: Limits, *, is_known: bool, is_accepted: bool
) -> Duplicate:
    is_believed = machine.is_acknowledged or now >= machine.found_at + limits.adoption_window
    if not is_known and is_believed:
        return replace(machine, gone_at=now)
    pause = exponential_delay(
        machine.tries + 1,
        first=CONFIRM_DELETION_AFTER,
        ceiling=limits.ask_again_ceiling,
        jitter=0,
        random=0,
    )
    return replace(
        machine,
        tries=machine.tries + 1,
        try_at=now + pause,
        is_acknowledged=machine.is_acknowledged or is_accepted,
    )


def _is_back(machine: Duplicate, at: datetime, limits: Limits) -> bool:
    return machine.gone_at is not None and at >= machine.gone_at + limits.adoption_window
