"""The errors of orders: refused before anything was stored, or failed and kept as a row."""

from datetime import datetime, timedelta

from gpukeeper.domain.errors import GpuKeeperError, NothingForSale
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle.purchases import describe_considered


class OrderRefused(GpuKeeperError):
    """Nothing is for sale that fits the order; nothing was stored.

    ``attempts`` are the offers that were looked at.
    """

    def __init__(self, error: NothingForSale, now: datetime) -> None:
        super().__init__(error.message, code=error.error_code)
        self.attempts = describe_considered(error, now)


class OrderFailed(GpuKeeperError):
    """The order failed before Novita accepted it.

    ``error_code`` says why, ``novita_reason`` Novita's own word for it; ``instance`` is the row
    that keeps the attempts.
    """

    def __init__(self, instance: Instance, now: datetime) -> None:
        reason = instance.reason
        assert reason is not None
        super().__init__(reason.message, code=reason.code)
        self.instance = instance
        self.novita_reason = reason.novita_reason
        retry_at = reason.retry_at
        self.retry_after = None if retry_at is None else max(retry_at - now, timedelta(0))
