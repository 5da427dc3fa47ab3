"""Sign the dashboard's cookie, and tell ours from others."""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

COOKIE = "gpukeeper_session"

# A working day: whoever comes back the next morning signs in again.
LIFETIME = timedelta(hours=12)

# The same secret key seals environment values, and neither use may weaken the other.
_PURPOSE = b"gpukeeper dashboard session 1"

_VALUE = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{43})")


class Sessions:
    """Sessions that end by themselves, or with the API key that they were opened with.

    A cookie says when its session ends, and is signed with the secret key and the digest of the
    API key.  Nothing is stored: every replica recognises the cookies of the others.
    """

    def __init__(
        self,
        *,
        secret_key: SecretStr,
        digests: Collection[bytes],
        clock: Callable[[], datetime],
    ) -> None:
        raw = urlsafe_b64decode(secret_key.get_secret_value())
        self._key = hmac.digest(raw, _PURPOSE, "sha256")
        self._digests = tuple(digests)
        self._clock = clock

    def open(self, digest: bytes) -> str:
        """Return the cookie's value for whoever has just shown the API key with this digest."""
        ends_at = str(int((self._clock() + LIFETIME).timestamp()))
        return f"{ends_at}.{self._signature(ends_at, digest)}"

    def is_signed_in(self, headers: Headers) -> bool:
        """Whether a request carries the cookie of a session that has not ended."""
        found = _VALUE.fullmatch(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""))
        if found is None:
            return False
        ends_at, signature = found.groups()
        matches = [
            hmac.compare_digest(signature, self._signature(ends_at, digest))
            for digest in self._digests
        ]
        return any(matches) and self._clock().timestamp() < int(ends_at)

    def _signature(self, ends_at: str, digest: bytes) -> str:
        signed = hmac.digest(self._key, ends_at.encode() + b"." + digest, "sha256")
        return urlsafe_b64encode(signed).decode().rstrip("=")
