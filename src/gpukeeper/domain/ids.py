"""The names we give: sortable ids for our rows, and the unique name of a machine at Novita."""

from datetime import datetime

# Crockford's base 32: no letter that is mistaken for a digit, and legal in Novita's names.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARS = 10
_RANDOM_CHARS = 16
_MARK = "-gk"
DEPLOYMENT_CHARS = 4
_ORDER_CHARS = 8


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


def novita_name(name: str, deployment: str, random_bytes: bytes) -> str:
    """Return the unique name of an order's machine: ``<name>-gk<deployment><order>``.

    At most 63 characters of ``[A-Za-z0-9-]`` for a name of at most 48 (API notes §3.1); takes 5
    random bytes.
    """
    order = _encode(int.from_bytes(random_bytes[:5]), _ORDER_CHARS)
    return f"{name}{_MARK}{deployment}{order}"


def is_ours(machine_name: str, deployment: str) -> bool:
    """Whether a machine's name carries the mark of this deployment."""
    _, mark, token = machine_name.rpartition(_MARK)
    return (
        bool(mark)
        and len(token) == DEPLOYMENT_CHARS + _ORDER_CHARS
        and token.startswith(deployment)
        and all(char in _ALPHABET for char in token)
    )


def ordered_name(machine_name: str) -> str:
    """Return the name that was ordered, without our mark."""
    return machine_name.rpartition(_MARK)[0] or machine_name


def _encode(number: int, chars: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(chars)))
