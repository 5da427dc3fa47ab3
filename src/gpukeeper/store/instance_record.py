"""The JSON body of an instance's row: flat, whatever parts an instance has.

Replicas of several versions read each other's rows, so a body keeps its keys for good.
"""

from dataclasses import field, fields, make_dataclass
from operator import attrgetter, itemgetter
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter

from gpukeeper.domain.instances import Instance, Purchase, Watch
from gpukeeper.domain.machines import Machine

# Keys that are not called like their fields.
_KEYS = {
    "desired_state": "desired",
    "pending_command": "wanted",
    "last_command": "asked",
    "duplicates": "surplus",
    "intent": "buying",
    "last_start_at": "machine_started_at",
}


def dump(instance: Instance) -> str:
    """Return the body of an instance, which must not carry environment values."""
    return _adapter.dump_json(_Record(*_values_of(instance)), by_alias=True).decode()


def parse(body: str) -> Instance:
    """Return the instance that a body holds.  Raises pydantic's ValidationError."""
    flat = vars(_adapter.validate_json(body))
    parts = {name: kind(*values(flat)) for name, kind, values in _PART_VALUES}
    return Instance(**{name: flat[name] for name in _OWN}, **parts)


_PARTS: dict[str, type[Any]] = {"purchase": Purchase, "machine": Machine, "watch": Watch}
_OWN = [each.name for each in fields(Instance) if each.name not in _PARTS]
_PART_VALUES = [
    (name, kind, itemgetter(*(each.name for each in fields(kind)))) for name, kind in _PARTS.items()
]
_values_of = attrgetter(
    *_OWN, *(f"{name}.{each.name}" for name, kind in _PARTS.items() for each in fields(kind))
)


def _flat(kind: type[Any]) -> list[tuple[str, Any, Any]]:
    types = get_type_hints(kind)
    own = [each for each in fields(kind) if each.name not in _PARTS]
    return [(each.name, types[each.name], field(default=each.default)) for each in own]


_KINDS: list[type[Any]] = [Instance, *_PARTS.values()]

# A plain class, of which pydantic sets a dictionary in one step, and which it validates in Rust:
# to divide that into parts costs less than to have the body divided before it is validated.
_CONFIG = ConfigDict(alias_generator=lambda name: _KEYS.get(name, name))
_Record = make_dataclass(
    "_Record",
    [each for kind in _KINDS for each in _flat(kind)],
    namespace={"__pydantic_config__": _CONFIG},
)
_adapter: TypeAdapter[Any] = TypeAdapter(_Record)
