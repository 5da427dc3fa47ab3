"""Know the account's own secrets, which Novita may echo in any of its texts."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from pydantic import SecretStr

from gpukeeper.domain.products import Template
from gpukeeper.novita.messages import Request, Response
from gpukeeper.novita.protocol import RegistryAuth

# Passwords change rarely; one that is new is learned with the next order after this.
_KNOWN_FOR = timedelta(hours=1)
# Where Novita did not tell them, orders are not held up each time.
_ASK_AGAIN_AFTER = timedelta(minutes=1)

# Rows name the credentials of their image, and say what went wrong (§3.3).
_TELLS_OF_MACHINES = frozenset({"list", "get"})
_NAMED = re.compile(rb'"imageAuthId"\s*:\s*"[^"]')
_TROUBLE = re.compile(rb'"statusError"\s*:\s*\{[^}]*"message"\s*:\s*"[^"]')

# An account has a handful of registries.
_MAX_REGISTRIES = 200


class Secrets:
    """The API key, and the credentials of registries that have been seen; iterate over them."""

    def __init__(self, api_key: SecretStr, *, clock: Callable[[], datetime]) -> None:
        self._api_key = api_key
        self._clock = clock
        self._of_templates: dict[str, SecretStr] = {}
        self._of_account: tuple[SecretStr, ...] = ()
        self._ask_at: datetime | None = None

    def __iter__(self) -> Iterator[str]:
        known = (self._api_key, *self._of_account, *self._of_templates.values())
        return (secret.get_secret_value() for secret in known)

    def has_to_learn(self, template: Template) -> bool:
        """Remember what a template says itself; whether it names credentials not known here."""
        credentials = template.image_auth_id
        if ":" in credentials:
            password = credentials.split(":", 1)[1]
            if len(self._of_templates) < _MAX_REGISTRIES:
                self._of_templates |= {text: SecretStr(text) for text in (credentials, password)}
            return False
        return bool(credentials) and self._is_due()

    def has_to_learn_for(self, request: Request, answer: Response) -> bool:
        """Whether an answer tells of trouble with a machine whose credentials are not known here.

        They are not after a start, until somebody orders.
        """
        is_told = request.route in _TELLS_OF_MACHINES and _TROUBLE.search(answer.body)
        return bool(is_told and _NAMED.search(answer.body)) and self._is_due()

    def learn(self, auths: Sequence[RegistryAuth]) -> None:
        """Remember the credentials that the account has at Novita (Novita API notes §3.9)."""
        self._ask_at = self._clock() + _KNOWN_FOR
        self._of_account = tuple(
            SecretStr(text)
            for auth in auths[:_MAX_REGISTRIES]
            if (password := auth.password.get_secret_value())
            for text in (password, f"{auth.username}:{password}")
        )

    def _is_due(self) -> bool:
        """Whether credentials may be asked for now, which is then said to have been done."""
        now = self._clock()
        is_due = self._ask_at is None or self._ask_at <= now
        if is_due:
            self._ask_at = now + _ASK_AGAIN_AFTER
        return is_due
