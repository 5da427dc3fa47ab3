"""Sign webhooks as Standard Webhooks says (contract §5), and verify such signatures."""

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from gpukeeper.domain.errors import GpuKeeperError

SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with, not a secret

# Standard Webhooks: fewer bytes could be guessed, more add nothing to HMAC-SHA256.
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64

# Standard Webhooks' advice: room for clocks that differ, little room for a replay.
TOLERANCE = timedelta(minutes=5)


class SignatureMismatch(GpuKeeperError):
    """No signature of this webhook was made with a known secret."""

    code = "unauthorized"


def sign(secret: bytes, *, webhook_id: str, sent_at: datetime, body: bytes) -> str:
    """Return the signature of one attempt: ``v1,`` and the base64 of the HMAC-SHA256."""
    content = f"{webhook_id}.{_timestamp(sent_at)}.".encode() + body
    return "v1," + b64encode(hmac.digest(secret, content, "sha256")).decode()


def headers(
    secrets: Sequence[SecretStr], *, webhook_id: str, sent_at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers of one attempt, with one signature per secret.

    A receiver that knows any one of the secrets accepts the webhook, so that secrets can be
    rotated without a gap.
    """
    signatures = (
        sign(_key(secret), webhook_id=webhook_id, sent_at=sent_at, body=body) for secret in secrets
    )
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": _timestamp(sent_at),
        "webhook-signature": " ".join(signatures),
    }


def verify(
    secrets: Sequence[SecretStr],
    *,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> None:
    """Check that one of ``secrets`` signed ``body``, at most ``tolerance`` away from ``now``.

    Header names may be in any case; signatures of versions other than ``v1`` are passed over.
    Raises :class:`SignatureMismatch` with what is wrong.
    """
    given = {name.lower(): value for name, value in headers.items()}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if not given.get(name):
            raise SignatureMismatch(f"The header {name} is missing.")
    if not re.fullmatch("[0-9]{1,10}", given["webhook-timestamp"]):
        raise SignatureMismatch("The header webhook-timestamp is not a Unix time in seconds.")
    sent_at = datetime.fromtimestamp(int(given["webhook-timestamp"]), UTC)
    if abs(now - sent_at) > tolerance:
        raise SignatureMismatch("The webhook was signed too long ago, or in the future.")
    signatures = given["webhook-signature"].split()
    for secret in secrets:
        expected = sign(_key(secret), webhook_id=given["webhook-id"], sent_at=sent_at, body=body)
        # Bytes, because compare_digest refuses text that is not ASCII.
        if any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures):
            return
    raise SignatureMismatch


def parse_secret(text: str) -> SecretStr:
    """Return a secret after checking that it is ``whsec_`` and the base64 of 24 to 64 bytes.

    Raises :class:`ValueError` with a sentence that does not show the secret.
    """
    secret = SecretStr(text.strip())
    has_prefix = secret.get_secret_value().startswith(SECRET_PREFIX)
    try:
        size = len(_key(secret))
    except ValueError:
        size = 0
    if not (has_prefix and MIN_SECRET_BYTES <= size <= MAX_SECRET_BYTES):
        raise ValueError(
            f"A webhook secret is {SECRET_PREFIX} followed by the base64 of "
            f"{MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes."
        )
    return secret


def new_secret(random_bytes: bytes) -> str:
    """Return random bytes (24 to 64 of them) written as a secret.

    Raises :class:`ValueError` for another number of bytes.
    """
    return parse_secret(SECRET_PREFIX + b64encode(random_bytes).decode()).get_secret_value()


def _timestamp(sent_at: datetime) -> str:
    return str(int(sent_at.timestamp()))


def _key(secret: SecretStr) -> bytes:
    encoded = secret.get_secret_value().removeprefix(SECRET_PREFIX)
    # Some tools write base64 without its padding.
    return b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
