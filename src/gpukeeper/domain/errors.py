"""Every error of the program; the domain never mentions HTTP (``web/problems.py`` does).

Each class has a ``code``, the stable word that callers branch on, and its docstring is the
default message.  An error that carries data about its cause keeps it in attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from gpukeeper.domain.products import Offer


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one field of what a caller sent."""

    field: str
    message: str


class GpuKeeperError(Exception):
    """Something went wrong in gpukeeper."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.error_code = code or self.code
        super().__init__(self.message)


class InvalidOrder(GpuKeeperError):
    """The request is not valid."""

    code = "invalid_request"

    def __init__(
        self, message: str = "", *, code: str | None = None, faults: Sequence[Fault] = ()
    ) -> None:
        super().__init__(message, code=code)
        self.faults = tuple(faults)


class NotFound(GpuKeeperError):
    """There is no such thing here."""

    code = "instance_not_found"


class WrongStatus(GpuKeeperError):
    """The instance's status does not allow this."""

    code = "wrong_status"


class ForeignMachine(GpuKeeperError):
    """The machine does not carry this deployment's mark."""

    code = "foreign_machine"


class KeyReused(GpuKeeperError):
    """This Idempotency-Key was already used with another request body."""

    code = "idempotency_key_reused"


class Unauthorized(GpuKeeperError):
    """A valid API key is needed: send it as 'Authorization: Bearer <key>'."""

    code = "unauthorized"


class TooManyWrongKeys(GpuKeeperError):
    """This key is wrong, as were many from this address: correct it, or wait a minute."""

    code = "too_many_wrong_keys"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class NothingForSale(GpuKeeperError):
    """Nothing is for sale that fits the order (``out_of_stock``, ``price_above_limit``, quota).

    ``offers`` are those of its name that were looked at, cheapest first.
    """

    code = "out_of_stock"

    def __init__(
        self, message: str = "", *, code: str | None = None, offers: Sequence[Offer] = ()
    ) -> None:
        super().__init__(message, code=code)
        self.offers = tuple(offers)


class NovitaError(GpuKeeperError):
    """Novita did not do what it was asked.

    ``reason`` and ``status`` are Novita's own word and HTTP status, kept for the log and the
    caller; ``None`` where the answer had none.
    """

    code = "novita_rejected"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        reason: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.reason = reason
        self.status = status


class NovitaUnavailable(NovitaError):
    """Novita could not be reached or answered with a fault of its own."""

    code = "novita_unavailable"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        reason: str | None = None,
        status: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, code=code, reason=reason, status=status)
        self.retry_after = retry_after


class NovitaTimeout(NovitaUnavailable):
    """Novita did not answer in time."""

    code = "novita_timeout"


class RateLimited(NovitaUnavailable):
    """Novita asks for fewer calls."""

    code = "novita_rate_limited"


class NovitaRejected(NovitaError):
    """Novita refused the request."""


class InvalidStateChange(NovitaRejected):
    """Novita says that the machine's state does not allow this; often it already happened."""


class RefusedForGood(NovitaRejected):
    """Novita refused the request, and would refuse it again."""


class BadCredentials(NovitaError):
    """Novita refused the API key: check NOVITA_API_KEY."""

    code = "novita_credentials"


class InsufficientBalance(NovitaError):
    """The Novita account has not enough balance."""

    code = "insufficient_balance"


class QuotaExceeded(NovitaError):
    """The Novita account's quota of instances or GPUs is used up."""

    code = "quota_exceeded"


class OutOfStock(NovitaError):
    """Novita has no machine of this offer left."""

    code = "out_of_stock"


class NovitaNotFound(NovitaError):
    """Novita does not know this machine or template (any more)."""


class OutcomeUnknown(NovitaError):
    """Novita was asked to change something and its answer was lost: it may have happened."""

    code = "novita_unavailable"


class StoreRestored(GpuKeeperError):
    """The database was restored: no order is taken until Novita was looked at twice."""

    code = "store_restored"


class StoreUnavailable(GpuKeeperError):
    """The database cannot work at present; nothing was stored."""

    code = "store_unavailable"


class LeaseLost(GpuKeeperError):
    """Another worker owns this row now: the result is dropped."""


class InvalidConfiguration(GpuKeeperError):
    """The configuration is not valid."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = tuple(faults)
