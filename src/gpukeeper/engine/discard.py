"""Asks Novita about a machine that an order does not need, and to delete it if it is there."""

from gpukeeper.domain.errors import NovitaError, NovitaNotFound
from gpukeeper.domain.instance import Phase
from gpukeeper.novita.client import NovitaClient
from gpukeeper.telemetry import Logger


async def discard(
    novita: NovitaClient, instance_id: str, novita_id: str, log: Logger
) -> tuple[bool, bool]:
    """Return whether Novita knows the machine, and whether it has accepted to delete it.

    A machine is known until Novita says otherwise: whether it cannot be asked, refuses, or has
    not finished deleting it.
    """
    try:
        if not await _is_known(novita, novita_id):
            return False, False
        await novita.delete(novita_id)
    except NovitaError as error:
        log.warning(
            "surplus_not_deleted",
            instance_id=instance_id,
            novita_id=novita_id,
            code=error.error_code,
            novita_reason=error.reason,
            novita_message=error.message,
        )
        return True, False
    return True, True


async def _is_known(novita: NovitaClient, novita_id: str) -> bool:
    try:
        return (await novita.get(novita_id)).phase is not Phase.GONE
    except NovitaNotFound:
        return False
