"""Whose a store is: the Novita and the account whose machines it knows.

Novita has nothing that names an account by its key (API notes §2).  What proves that two keys are
of one account is that both are shown the same machines.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from gpukeeper.config import Settings
from gpukeeper.domain.errors import (
    BadCredentials,
    Fault,
    InvalidConfiguration,
    NovitaError,
    NovitaNotFound,
    NovitaUnavailable,
)
from gpukeeper.novita.client import NovitaClient
from gpukeeper.store import facts, instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.facts import Account
from gpukeeper.telemetry import get_logger

# How many keys of one account a store remembers: the present ones, and those that were replaced.
_KEYS = 16
# Machines that are asked for one by one where the listing shows none.
_SAMPLES = 3
# Of a shorter key nothing is shown.
_SHOWN_FROM_CHARS = 16
_SHOWN_CHARS = 4
_WAY_OUT = (
    "name the one that it belongs to, give this one a store of its own (GPUKEEPER_DATA_DIR,"
    " GPUKEEPER_DATABASE_URL), or run 'gpukeeper migrate --rebind', which says what that means for"
    " the instances that are there"
)


class WrongAccount(NovitaUnavailable):
    """This store belongs to another account of Novita's than NOVITA_API_KEY.

    Nothing can be concluded from what another account knows, so it counts as no answer.
    """

    code = BadCredentials.code


class AccountProof:
    """What has to be proven of a key before anything else is asked with it."""

    def __init__(
        self, database: Database, settings: Settings, open_plain: Callable[[], NovitaClient]
    ) -> None:
        self._database = database
        self._settings = settings
        self._open_plain = open_plain
        self._lock = asyncio.Lock()
        self._is_given = False
        self._refusal: str | None = None

    async def admit(self) -> None:
        """Return once Novita has shown to this key a machine that the store knows.

        Raises WrongAccount when it shows none of them, and NovitaError when it cannot be asked.
        """
        async with self._lock:
            if self._is_given:
                return
            if self._refusal is None and await self._is_proven():
                await self._database.write(lambda connection: bind(connection, self._settings))
                self._is_given = True
                return
            if self._refusal is None:
                self._refusal = await self._database.read(
                    lambda connection: describe_mismatch(connection, self._settings)
                )
                get_logger("gpukeeper").error("account_differs", error=self._refusal)
            raise WrongAccount(f"NOVITA_API_KEY {self._refusal}.")

    async def settle(self, *, patience_seconds: float = 10) -> None:
        """Have it proven at the start, if Novita answers in time; else it is at the first call.

        Raises InvalidConfiguration when the store belongs to another account.
        """
        try:
            async with asyncio.timeout(patience_seconds):
                await self.admit()
        except WrongAccount as error:
            fault = Fault("NOVITA_API_KEY", self._refusal or error.message)
            raise InvalidConfiguration([fault]) from error
        except (NovitaError, TimeoutError) as error:
            get_logger("gpukeeper").warning(
                "account_not_proven",
                error=str(error),
                consequence="nothing is asked of Novita before it shows a machine of this store",
            )

    async def _is_proven(self) -> bool:
        machines = await self._database.read(list_known_machines)
        novita = self._open_plain()
        try:
            return await is_shown(novita, machines)
        finally:
            await novita.aclose()


async def is_shown(novita: NovitaClient, machines: Sequence[str]) -> bool:
    """Whether Novita shows any of these machines to the client's key.  Raises NovitaError."""
    listing = await novita.list_all(is_wanted=lambda seen: False)
    if not listing.ids.isdisjoint(machines):
        return True
    for machine in machines[:_SAMPLES]:
        try:
            seen = await novita.get(machine)
        except NovitaNotFound:
            continue
        if seen.novita_id == machine:
            return True
    if not listing.is_complete:
        raise NovitaUnavailable("Novita's listing was incomplete.")
    return False


def list_known_machines(connection: Connection) -> list[str]:
    """Return Novita's ids of the machines that may exist."""
    return [row.novita_id for row in instances.list_sweep_rows(connection)]


def match_account(connection: Connection, settings: Settings) -> bool:
    """Return whether the store belongs to the account of the settings, and bind it if it may.

    False means that this has to be proven.  Raises InvalidConfiguration when it belongs to another
    Novita.
    """
    is_ours = may_belong(connection, settings)
    account = facts.find_account(connection)
    if is_ours and (account is None or _digest(account.salt, settings) not in account.keys):
        bind(connection, settings)
    return is_ours


def may_belong(connection: Connection, settings: Settings) -> bool:
    """Return whether the store belongs to the account of the settings, or may be bound to it.

    A store that belongs to nobody yet, or holds nothing, may be; so may one in which nothing is
    open when its key alone is another.  False means that this has to be proven.  Raises
    InvalidConfiguration when it belongs to another Novita.
    """
    account = facts.find_account(connection)
    if account is None:
        return True
    if account.novita == _place(settings):
        is_known = _digest(account.salt, settings) in account.keys
        return is_known or not instances.list_unsettled_ids(connection)
    if instances.count_by_status(connection):
        raise InvalidConfiguration(
            [Fault("NOVITA_BASE_URL", describe_mismatch(connection, settings))]
        )
    return True


def describe_mismatch(connection: Connection, settings: Settings) -> str:
    """Return why the store cannot be used with the account of the settings, and what to do."""
    account = facts.find_account(connection)
    belongs = "" if account is None else f"{account.novita} and the key {account.hint}"
    return (
        f"does not name the account of this store, which belongs to {belongs}, and not to"
        f" {_place(settings)} and the key {_hint(settings)}: {_WAY_OUT}"
    )


def describe_rebind(connection: Connection, settings: Settings) -> str:
    """Return what it means to bind the store to the account of the settings."""
    account = facts.find_account(connection)
    belongs = "nobody yet" if account is None else f"{account.novita} and the key {account.hint}"
    watched = len(instances.list_sweep_rows(connection))
    waiting = len(instances.list_unsettled_ids(connection)) - watched
    return (
        f"The store belongs to {belongs}.\n"
        f"It is about to belong to {_place(settings)} and the key {_hint(settings)}.\n"
        f"Machines that it knows: {watched}. Those that the new account does not have become"
        " 'lost'; the old account goes on billing those that run there.\n"
        f"Open orders and other unfinished work: {max(waiting, 0)}. What was not bought yet is"
        " bought in the new account."
    )


def bind(connection: Connection, settings: Settings) -> None:
    """Store that the store belongs to the account of the settings; earlier keys of it stay."""
    account = facts.find_account(connection)
    place = _place(settings)
    is_here = account is not None and account.novita == place
    salt = account.salt if account is not None else secrets.token_hex(16)
    earlier = account.keys if account is not None and is_here else ()
    digest = _digest(salt, settings)
    keys = (*(key for key in earlier if key != digest), digest)[-_KEYS:]
    facts.store_account(connection, Account(place, salt, keys, _hint(settings)))


def rebind(connection: Connection, settings: Settings) -> None:
    """Store that the store belongs to the account of the settings and to no other."""
    account = facts.find_account(connection)
    if account is not None:
        facts.store_account(connection, Account("", account.salt, (), ""))
    bind(connection, settings)


def _place(settings: Settings) -> str:
    """Return the address of Novita, spelled in one way."""
    parts = urlsplit(settings.novita_base_url)
    port = parts.port if parts.port != {"http": 80, "https": 443}[parts.scheme] else None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def _digest(salt: str, settings: Settings) -> str:
    """Return what tells one key from another and says nothing of it: keys are random."""
    key = settings.novita_api_key.get_secret_value()
    return hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()


def _hint(settings: Settings) -> str:
    """Return the end of a key, by which a person knows it again."""
    key = settings.novita_api_key.get_secret_value()
    return f"…{key[-_SHOWN_CHARS:]}" if len(key) >= _SHOWN_FROM_CHARS else "that is given"
