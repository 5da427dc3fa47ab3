"""Recognise the API keys by their digests, and slow down whoever guesses them."""

import hashlib
import hmac
from collections.abc import Callable, Collection
from datetime import datetime

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from gpukeeper.domain.errors import TooManyWrongKeys, Unauthorized
from gpukeeper.telemetry import get_logger
from gpukeeper.web.server.proxies import Proxies, network_of
from gpukeeper.web.throttle import Throttle

_log = get_logger(__name__)

# Wrong keys a minute: more than anybody mistypes, and hopeless against 16 characters.
_LIMIT = 10


class Keys:
    """The digests of the keys; true when there is any."""

    def __init__(
        self,
        keys: Collection[SecretStr],
        *,
        clock: Callable[[], datetime],
        proxies: Proxies = Proxies(),  # noqa: B008 - a value that nobody changes
    ) -> None:
        # Digests are equally long, so that comparing them does not tell the length of a key.
        self.digests = tuple(_digest(key.get_secret_value()) for key in keys)
        self._proxies = proxies
        self._guesses = Throttle(limit=_LIMIT, clock=clock)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def recognise(self, key: str, scope: Scope) -> bytes:
        """Return the digest of a key that is one of ours; ``scope`` is the request it came with.

        Takes equally long whichever key it is, or none.  A right key is let in however many wrong
        ones came before it: keys are too long to be guessed, and who shares an address with a
        guesser, behind a proxy or a NAT, is not to be kept out by him.  Raises Unauthorized for a
        wrong one, and TooManyWrongKeys after too many.
        """
        given = _digest(key)
        matches = [hmac.compare_digest(given, digest) for digest in self.digests]
        if any(matches):
            return given
        peer = (scope.get("client") or ("", 0))[0]
        source = network_of(self._proxies.client(peer, scope["headers"]))
        wait = self._guesses.wait(source, given)
        if wait:
            raise TooManyWrongKeys(retry_after=wait)
        self._guesses.count(source, given)
        _log.warning("wrong_key", client=source, path=scope["path"])
        raise Unauthorized("This key is not one of those in GPUKEEPER_API_KEYS.")


def bearer_key(headers: Headers) -> str | None:
    """Return the key that a request carries, if any."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
