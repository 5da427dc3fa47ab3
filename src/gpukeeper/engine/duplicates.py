"""Asks Novita about a machine that an order does not need, and to delete it if it is there."""

from gpukeeper.domain.errors import NovitaError, NovitaNotFound
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.machines import Phase
from gpukeeper.novita.client import NovitaClient
from gpukeeper.telemetry import Logger


async def delete_duplicate(
    novita: NovitaClient, instance: Instance, novita_id: str, log: Logger
) -> tuple[bool, bool]:
    """Return whether Novita knows the machine, and whether it has accepted to delete it.

    A machine is known until Novita says otherwise: whether it cannot be asked, refuses, or has
    not finished deleting it.  If it never accepted to delete it, a complete listing has to leave
    the machine out, too.
    """
    try:
        if not await _is_known(novita, novita_id):
            return not _is_accepted(instance, novita_id) and await _is_listed(
                novita, instance, novita_id
            ), False
        await novita.delete(novita_id)
    except NovitaError as error:
        log.warning(
            "surplus_not_deleted",
            instance_id=instance.id,
            novita_id=novita_id,
            code=error.error_code,
            novita_reason=error.reason,
            novita_message=error.message,
        )
        return True, False
    return True, True


def _is_accepted(instance: Instance, novita_id: str) -> bool:
    return any(
        machine.is_acknowledged for machine in instance.duplicates if machine.novita_id == novita_id
    )


async def _is_known(novita: NovitaClient, novita_id: str) -> bool:
    try:
        return (await novita.get(novita_id)).phase is not Phase.GONE
    except NovitaNotFound:
        return False


async def _is_listed(novita: NovitaClient, instance: Instance, novita_id: str) -> bool:
    """Whether a listing shows it, or is too short to show that it does not."""
    listing = await novita.list_all(name=instance.novita_name)
    living = {seen.novita_id for seen in listing.machines if seen.phase is not Phase.GONE}
    return not listing.is_complete or novita_id in living
