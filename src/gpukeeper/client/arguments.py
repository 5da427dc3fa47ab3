"""What callers pass to the client, checked before anything is sent: each fault is an error of ours.

What the service itself checks, and can say more about, is left to it.
"""

import math
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from gpukeeper.client.problems import InvalidArgument

# Whoever means seconds may write them as a number.
Duration = timedelta | float
# Dollars; floats are read as they are printed.
Dollars = Decimal | int | float | str


def build_order(**given: Any) -> dict[str, Any]:
    """Return the body of an order by the names of the client; what is None is left out."""
    body = {}
    for name, value in given.items():
        if value is not None:
            field, read = _ORDER_FIELDS[name]
            body[field] = read(name, value)
    return body


def check_seconds(name: str, value: Duration) -> float:
    """Return a duration above zero, of a timedelta or a number of seconds, in seconds."""
    number = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not math.isfinite(number) or number <= 0:
        raise InvalidArgument(
            f"{name} is {value!r}: it must be a timedelta, or a number of seconds, above 0."
        )
    return float(number)


def check_dollars(name: str, value: Dollars) -> str:
    """Return an amount as the service reads it."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(value, bool) or not amount.is_finite():
        raise InvalidArgument(f"{name} is {value!r}: it must be an amount of dollars.")
    return f"{amount:f}"


def check_texts(name: str, value: str | Collection[str]) -> list[str]:
    """Return texts as a list; one text is a list of one, and not of its letters."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, Collection) or not all(isinstance(each, str) for each in given):
        raise InvalidArgument(f"{name} is {value!r}: it must be a list of texts.")
    return [str(each) for each in given]


def check_pairs(name: str, value: Mapping[str, str]) -> dict[str, str]:
    """Return names and texts; a fault shows none of them, for they may be secrets."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{name} must be a mapping of names to texts.")
    return {key: check_plain(name, each) for key, each in value.items()}


def check_plain(name: str, value: Any) -> Any:
    """Return what JSON can hold as it is: a text, a number, or a truth."""
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InvalidArgument(f"{name} holds a {type(value).__name__}: it must be a text or a number.")


def check_header(name: str, value: str) -> str:
    """Return what can be sent in a header."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise InvalidArgument(f"{name} must be a text of printable ASCII characters.")
    return value


def _whole_seconds(name: str, value: Duration) -> int:
    return int(check_seconds(name, value))


_ORDER_FIELDS: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "name": ("name", check_plain),
    "product_name": ("productName", check_plain),
    "template_id": ("templateId", check_plain),
    "gpu_num": ("gpuNum", check_plain),
    "rootfs_size_gb": ("rootfsSize", check_plain),
    "billing_mode": ("billingMode", check_plain),
    "region": ("region", check_plain),
    "regions": ("regions", check_texts),
    "max_price_per_hour": ("maxPricePerHour", check_dollars),
    "envs": ("envs", check_pairs),
    "ports": ("ports", check_texts),
    "command": ("command", check_plain),
    "webhook_url": ("webhookUrl", check_plain),
    "labels": ("labels", check_pairs),
    "startup_timeout": ("startupTimeout", _whole_seconds),
    "on_failure": ("onFailure", check_plain),
}
