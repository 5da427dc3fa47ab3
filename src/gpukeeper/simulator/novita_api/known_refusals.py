"""The refusals that Novita is known to give, with their reasons (Novita API notes §5)."""

from collections.abc import Mapping


class Refusal(Exception):
    """A response that is no success: HTTP status, reason, message and metadata."""

    def __init__(
        self, status: int, reason: str, message: str, *, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})

    def body(self) -> dict[str, object]:
        """Return the JSON body in Novita's shape."""
        return {
            "code": self.status,
            "reason": self.reason,
            "message": self.message,
            "metadata": self.metadata,
        }


def unauthorized() -> Refusal:
    """Refuse a missing or wrong key."""
    return Refusal(401, "UNAUTHORIZED", "authentication failed")


def invalid(message: str) -> Refusal:
    """Refuse a value outside the documented limits."""
    return Refusal(400, "VALIDATOR_PARAM", message)


def out_of_stock() -> Refusal:
    """Refuse for want of GPUs."""
    return Refusal(400, "INSUFFICIENT_RESOURCE", "insufficient resource")


def no_balance(*, reason: str = "BALANCE_NOT_ENOUGH") -> Refusal:
    """Refuse for want of money."""
    return Refusal(400, reason, "balance not enough, please recharge")


def over_quota(reason: str, limit: int | None = None) -> Refusal:
    """Refuse a machine beyond the account's quota, in one of the ways it is seen to be said."""
    if reason == "RATE_LIMIT_EXCEEDED":
        return Refusal(429, reason, "You have exceeded the GPU instance quota")
    message = "please recharge or delete other instances"
    metadata = {} if limit is None else {"limit": str(limit)}
    return Refusal(400, reason, message, metadata=metadata)


def wrong_state() -> Refusal:
    """Refuse a verb that the machine's status does not allow; only the message is known."""
    return Refusal(400, "", "invalid state change")


def not_found(style: str) -> Refusal:
    """Refuse an unknown machine in one of the three styles seen (Novita API notes §13)."""
    if style == "404-typo":
        return Refusal(404, "NOT_FOUNT", "instance not fount")
    return Refusal(int(style), "RESOURCE_NOT_FOUND", "instance not found")


def prepaid() -> Refusal:
    """Refuse to delete a machine that is paid by the month."""
    return Refusal(
        400, "PREPAID_INSTANCE_NOT_SUPPORT_RELEASE", "monthly instances cannot be released"
    )
