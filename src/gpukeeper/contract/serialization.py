"""How a public body becomes JSON, is documented, and is read again by a client.

A body is a frozen dataclass.  Pydantic writes it and describes it; a client reads it without
pydantic, whose import would make every command of the CLI a fifth slower.
"""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

Json = dict[str, Any]
T = TypeVar("T")

# Whatever a body that is not the service's may do to a reader.
UNREADABLE = (KeyError, TypeError, ValueError, ArithmeticError, AttributeError)

# The names that are not those of the fields in camelCase.
_JSON_NAMES = {"rootfs_size_gb": "rootfsSize", "is_stale": "stale"}


def json_name(field: str) -> str:
    """Return the name that a field of a body has in JSON."""
    first, *others = field.split("_")
    return _JSON_NAMES.get(field) or first + "".join(word.capitalize() for word in others)


def format_time(at: datetime | None) -> str | None:
    """Return a time as RFC 3339 UTC with milliseconds: ``2026-11-23T05:12:25.123Z``."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_money(amount: Decimal | None) -> str | None:
    """Return dollars without trailing zeros or an exponent: ``0.175``."""
    return None if amount is None else f"{amount.normalize():f}"


def format_rate(amount: Decimal) -> str | None:
    """Return dollars per hour to a millionth: a share of a day's price may never end."""
    return format_money(round(amount, 6))


class Formatted:
    """Marks a value that is written by a function and documented as a string like this."""

    def __init__(self, write: Callable[[Any], str | None], **documented: str) -> None:
        self._write = write
        self._documented = {"type": "string", **documented}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import plain_serializer_function_ser_schema, str_schema

        serialization = plain_serializer_function_ser_schema(
            self._write, return_schema=str_schema()
        )
        return handler(source) | {"serialization": serialization}

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        return dict(self._documented)


class OneOf:
    """Marks a text that is one of these words; a client takes a newer service's word as it is."""

    def __init__(self, words: Any) -> None:
        self._words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler.generate_schema(self._words)


class _AlwaysSent:
    """Marks what every service sends today, and what an older one may have left out."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        shown = handler(core)
        (kind,) = [each for each in shown["anyOf"] if each != {"type": "null"}]
        return kind


AlwaysSent = Annotated[T | None, _AlwaysSent()]

_DOLLARS = {"pattern": r"^[0-9]+(\.[0-9]+)?$", "description": "US dollars per hour, all GPUs."}

Time = Annotated[datetime, Formatted(format_time, format="date-time")]
Money = Annotated[Decimal, Formatted(format_money, **_DOLLARS)]
Rate = Annotated[Decimal, Formatted(format_rate, **_DOLLARS)]


class Body:
    """What all bodies have in common; ``raw`` is the JSON that a client has read it from.

    A field with a default is one that the client does without.  All are sent and documented so,
    but for those of ``may_be_left_out`` (JSON name to what its absence means).
    """

    raw: Json
    may_be_left_out: ClassVar[Mapping[str, Any]] = {}

    __pydantic_config__: ClassVar[Json] = {
        "alias_generator": json_name,
        "serialize_by_alias": True,
    }

    @classmethod
    def read(cls, json: Json, **beside: Any) -> Self:
        """Read a body; fields that are unknown are passed over, and null counts as missing.

        ``beside`` are fields that are not in the JSON.  Raises one of UNREADABLE for what is not
        such a body.
        """
        kind: Any = cls
        given = {
            name: read(json[key]) for name, key, read in _readers(kind) if json.get(key) is not None
        }
        body = cls(**given, **beside)
        object.__setattr__(body, "raw", json)
        return body

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        reference = handler(core)
        shown = handler.resolve_ref_schema(reference)
        sentences = dict(_sentences(cls))
        for name, schema in shown["properties"].items():
            schema.pop("default", None)
            if name in sentences:
                schema["description"] = sentences[name]
            if name in cls.may_be_left_out:
                schema["default"] = cls.may_be_left_out[name]
        names = shown["properties"]
        shown["required"] = [each for each in names if each not in cls.may_be_left_out]
        return reference


def _sentences(kind: type[Body]) -> Iterator[tuple[str, str]]:
    """Yield the names in JSON of the fields that have a docstring, and what it says.

    Pydantic would look for them whenever it writes the first body of a kind, for 25 ms.
    """
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    for statement, following in pairwise(tree.body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(said))):
                yield json_name(name), " ".join(said.split())


def to_json(body: Body, *, exclude: Set[str] = frozenset()) -> bytes:
    """Return a body as it is sent, without these fields."""
    kind: Any = type(body)
    encoded: bytes = _adapter(kind).dump_json(body, exclude=exclude)
    return encoded


def to_dict(body: Body, *, exclude: Set[str] = frozenset()) -> Json:
    """Return a body, without these fields, as JSON that is part of a larger one."""
    kind: Any = type(body)
    shown: Json = _adapter(kind).dump_python(body, mode="json", exclude=exclude)
    return shown


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@cache
def _readers(kind: Any) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """Return the fields of a body: the name, the name in JSON, and what reads the value."""
    hints = get_type_hints(kind)
    return tuple(
        (each.name, json_name(each.name), _reader(hints[each.name]))
        for each in fields(kind)
        if each.init
    )


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [each for each in get_args(hint) if each is not NoneType]
    if get_origin(hint) is tuple:
        read = _reader(get_args(hint)[0])
        return lambda values: tuple(map(read, values))
    if hint is datetime:
        return datetime.fromisoformat
    if hint is Decimal:
        return lambda value: Decimal(str(value))
    return hint.read if isinstance(hint, type) and issubclass(hint, Body) else _as_it_is


def _as_it_is(value: Any) -> Any:
    return value
