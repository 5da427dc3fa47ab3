"""The names we give: sortable ids for our rows, and the unique name of a machine at Novita."""

import hashlib
import hmac
from datetime import datetime

# Crockford's base 32: no letter that is mistaken for a digit, and legal in Novita's names.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARS = 10
_RANDOM_CHARS = 16
_MARK = "-gk"
# Stands in no name that we send; what follows it is Novita's id.
_ADOPTED = "#"
DEPLOYMENT_CHARS = 4
_ORDER_CHARS = 8
_ORDER_BYTES = 5


def new_id(prefix: str, now: datetime, random_bytes: bytes) -> str:
    """Return ``prefix_`` and 26 characters that sort by time; takes 10 random bytes."""
    milliseconds = int(now.timestamp() * 1000)
    number = int.from_bytes(random_bytes[:10])
    return f"{prefix}_{_encode(milliseconds, _TIME_CHARS)}{_encode(number, _RANDOM_CHARS)}"


def earliest_id(prefix: str, at: datetime) -> str:
    """Return what no id of this time or later sorts before."""
    return new_id(prefix, at, bytes(10))


def new_deployment(random_bytes: bytes) -> str:
    """Return the short word that marks the machines of one store; takes 3 random bytes."""
    return _encode(int.from_bytes(random_bytes[:3]) >> 4, DEPLOYMENT_CHARS)


def derived_deployment(secret_key: str) -> str:
    """Return the mark of the store that a secret key belongs to, even when the store is lost.

    20 bits of a keyed digest, which say nothing of the key.
    """
    return new_deployment(hmac.digest(secret_key.encode(), b"deployment", "sha256"))


def is_deployment(text: str) -> bool:
    """Whether a text can be the mark of a store."""
    return len(text) == DEPLOYMENT_CHARS and set(text) <= set(_ALPHABET)


def order_bytes(deployment: str, idempotency_key: str, turn: int) -> bytes:
    """Return the bytes that name the machine of an order with a key: always the same ones.

    A store that has forgotten the order knows its machine by them.  ``turn`` counts the orders
    that had the key: one that failed and bought nothing gives it to the next.
    """
    said = f"{deployment}\0{turn}\0{idempotency_key}"
    return hashlib.sha256(said.encode()).digest()[:_ORDER_BYTES]


def novita_name(name: str, deployment: str, random_bytes: bytes) -> str:
    """Return the unique name of an order's machine: ``<name>-gk<deployment><order>``.

    At most 63 characters of ``[A-Za-z0-9-]`` for a name of at most 48 (API notes §3.1); takes 5
    random bytes.
    """
    order = _encode(int.from_bytes(random_bytes[:_ORDER_BYTES]), _ORDER_CHARS)
    return f"{name}{_MARK}{deployment}{order}"


def token_of(machine_name: str) -> str:
    """Return what a machine's name ends with: the mark of its store and the word of its order."""
    _, mark, token = machine_name.rpartition(_MARK)
    return mark + token


def deployment_of(machine_name: str) -> str | None:
    """Return whose mark a machine's name carries, ours or another store's; None without one."""
    _, mark, token = machine_name.rpartition(_MARK)
    is_whole = bool(mark) and len(token) == DEPLOYMENT_CHARS + _ORDER_CHARS
    return token[:DEPLOYMENT_CHARS] if is_whole and set(token) <= set(_ALPHABET) else None


def is_ours(machine_name: str, deployment: str) -> bool:
    """Whether a machine's name carries the mark of this deployment."""
    return deployment_of(machine_name) == deployment


def ordered_name(machine_name: str) -> str:
    """Return the name that was ordered, without our mark."""
    return machine_name.rpartition(_MARK)[0] or machine_name


def adopted_name(machine_name: str, novita_id: str) -> str:
    """Return the unique name of the row of a machine that was adopted."""
    return f"{machine_name}{_ADOPTED}{novita_id}"


def is_adopted(novita_name: str) -> bool:
    """Whether a row's unique name is one that was never sent to Novita."""
    return _ADOPTED in novita_name


def may_be_altered(machine_name: str, novita_name: str) -> bool:
    """Whether a machine's name is what may have become of the one that was sent: cut, or changed.

    Letters and digits are compared, whatever their case; one name has to begin with the other.
    """
    shown, sent = _plain(machine_name), _plain(novita_name)
    return (
        bool(shown)
        and machine_name != novita_name
        and (sent.startswith(shown) or shown.startswith(sent))
    )


def _plain(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


def _encode(number: int, chars: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(chars)))
