"""The error of an order that failed, which keeps what is known of it."""

from datetime import datetime, timedelta

from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instance import Instance


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
