"""What the single fields of a request may hold.

The limits are Novita's (API notes §3.1) or tighter.  They are written as JSON Schema wherever it
can say them, so that the OpenAPI document is as strict as the service.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import Field, PlainValidator, WithJsonSchema

from gpukeeper.api.params.validation_messages import fault_message
from gpukeeper.domain.products import Port

Item = TypeVar("Item")

# Without control characters, and not blank.
PRINTABLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"

# Line ends and tabs have their use in a command line.
COMMAND = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

# Novita sells nothing near this price, whatever the number of GPUs; more is a slip of the pen.
_PRICES_END_USD = 10_000

# Novita's prices are whole hundred-thousandths of a dollar (API notes §7).
_PRICE_DECIMALS = 5
_PRICE = r"[0-9]{1,4}(\.[0-9]{1,5})?"

# A number from 1 to 65535 and its protocol.
_PORT = (
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    r"/(http|tcp)"
)
_NOVITAS_PORT = "222[2-4]/"


def _price(value: Any) -> Decimal:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    is_text = isinstance(value, str) and re.fullmatch(_PRICE, value)
    price = Decimal(value) if is_number or is_text else Decimal(0)
    if 0 < price < _PRICES_END_USD and round(price, _PRICE_DECIMALS) == price:
        return price
    raise ValueError(
        f"must be US dollars per hour, above 0 and below {_PRICES_END_USD}, "
        f"with at most {_PRICE_DECIMALS} decimals"
    )


def _port(value: Any) -> Port:
    parts = re.fullmatch(_PORT, value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError("must be a port of 1 to 65535 with http or tcp, such as 8000/http")
    if re.match(_NOVITAS_PORT, value):
        raise ValueError("must be another port: Novita uses 2222, 2223 and 2224 itself")
    return Port(int(parts[1]), parts[2])


Region = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=PRINTABLE),
    fault_message("must be a region's name or cluster id of 1 to 64 characters"),
]
EnvName = Annotated[
    str,
    Field(min_length=1, max_length=511, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$"),
    fault_message(
        "must be named with 1 to 511 letters, digits, '_', '.' or '-', not beginning with a digit"
    ),
]
EnvValue = Annotated[
    str,
    Field(max_length=4095, pattern=r"^[^\x00]*$"),
    fault_message("must be text of at most 4095 characters without NUL"),
]
LabelName = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=PRINTABLE),
    fault_message("must be named with 1 to 63 characters, not all of them spaces"),
]
LabelValue = Annotated[
    str,
    Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$"),
    fault_message("must be text of at most 255 characters, all on one line"),
]
PortText = Annotated[
    Port,
    PlainValidator(_port),
    WithJsonSchema({"type": "string", "pattern": f"^(?!{_NOVITAS_PORT}){_PORT}$"}),
]
Price = Annotated[
    Decimal,
    PlainValidator(_price),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "exclusiveMaximum": _PRICES_END_USD,
                    "multipleOf": 10**-_PRICE_DECIMALS,
                },
                {"type": "string", "pattern": f"^(?=.*[1-9]){_PRICE}$"},
            ]
        }
    ),
]


def without_repeats(values: list[Item]) -> list[Item]:
    """Return a list in which nothing is named twice; raises :class:`ValueError` otherwise."""
    if len(set(values)) < len(values):
        raise ValueError("must not name anything twice")
    return values
