"""Turn JSON into frozen dataclasses and back, naming every fault at once."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class BadInput(ValueError):
    """Input that does not fit; ``faults`` says why, one line for each fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def encode(value: object) -> Any:
    """Return ``value`` as JSON: dataclasses become objects, durations seconds, money text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: encode(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    return value


def decode(kind: type[T], data: object) -> T:
    """Build the dataclass ``kind`` from a JSON object; raise :class:`BadInput`."""
    values = _values(kind, data)
    try:
        return kind(**values)
    except TypeError as error:  # a required field is missing; the message names it
        raise BadInput(str(error).partition("() ")[2] or str(error)) from error


def apply_changes(value: T, data: object) -> T:
    """Return the dataclass ``value`` with the fields in ``data`` changed; maps are merged.

    Raise :class:`BadInput`.
    """
    changes = _values(type(value), data)
    for name, new in changes.items():
        old = getattr(value, name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes[name] = {**old, **new}
    changed: T = replace(value, **changes)  # type: ignore[type-var]  # T is a dataclass here
    return changed


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _values(kind: type, data: object) -> dict[str, Any]:
    """Return the fields of ``kind`` that ``data`` gives, each one checked."""
    if not isinstance(data, Mapping):
        raise BadInput("a JSON object is wanted")
    hints = _hints(kind)
    faults: list[str] = []
    values: dict[str, Any] = {}
    for name, item in data.items():
        if name not in hints:
            faults.append(f"{name}: unknown; known are {', '.join(sorted(hints))}")
            continue
        try:
            values[name] = _convert(hints[name], item)
        except BadInput as error:
            faults.extend(f"{name}: {fault}" for fault in error.faults)
    if faults:
        raise BadInput(*faults)
    return values


def _convert(hint: Any, item: object) -> Any:
    """Return ``item`` as the type that ``hint`` names."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return None if item is None else _convert(parts[0], item)
    if origin is Literal:
        if item not in parts:
            raise BadInput(f"one of {', '.join(map(str, parts))} is wanted")
        return item
    if origin is tuple:
        return _convert_list(parts, item)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(item, Mapping):
            raise BadInput("a JSON object is wanted")
        return {str(key): _convert(parts[1], value) for key, value in item.items()}
    if is_dataclass(hint) and isinstance(hint, type):
        return decode(hint, item)
    return _convert_plain(hint, item)


def _convert_list(parts: tuple[Any, ...], item: object) -> tuple[Any, ...]:
    if not isinstance(item, list | tuple):
        raise BadInput("a list is wanted")
    if parts[-1] is Ellipsis:
        return tuple(_convert(parts[0], value) for value in item)
    if len(item) != len(parts):
        raise BadInput(f"{len(parts)} values are wanted")
    return tuple(_convert(part, value) for part, value in zip(parts, item, strict=True))


def _convert_plain(hint: Any, item: object) -> Any:
    if hint is float and isinstance(item, int | float) and not isinstance(item, bool):
        return float(item)
    if isinstance(item, hint) and (hint is bool or not isinstance(item, bool)):
        return item
    raise BadInput(f"{hint.__name__} is wanted")
