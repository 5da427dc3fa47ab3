"""Tell people what is wrong with what they sent, field by field."""

import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from pydantic import ValidationError, WrapValidator
from pydantic_core import ErrorDetails

from gpukeeper.domain.errors import Fault

# More faults than this are no slip of the pen, and the answer should not outgrow the request.
MAX_FAULTS = 100

# Longer names of unknown fields are cut when they are repeated.
_MAX_NAME_CHARACTERS = 80


def fault_message(sentence: str, *, most: int | None = None) -> WrapValidator:
    """Make a field's faults read as ``sentence``, which continues the field's name.

    Faults of what is inside of the field keep their own sentences.  Of what has more than
    ``most`` entries, none is looked at: a body has room for a hundred thousand.
    """

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        if most is not None and isinstance(value, dict | list) and len(value) > most:
            raise ValueError(sentence)
        try:
            return validate(value)
        except ValidationError as error:
            if all(detail["loc"] for detail in error.errors(include_input=False)):
                raise
            raise ValueError(sentence) from error

    return WrapValidator(check)


def faults_of(
    details: Iterable[ErrorDetails], *, known: Collection[str] = (), skip: int = 0
) -> tuple[Fault, ...]:
    """Return the faults that a validation found, in the words of the API.

    ``known`` are the names that an unknown one may have been meant to be; ``skip`` is how many
    steps of each location lie outside of what was sent.
    """
    found = [
        Fault(_field(detail["loc"][skip:]), _message(detail, known))
        for detail in list(details)[:MAX_FAULTS]
    ]
    return tuple(dict.fromkeys(found))


def _field(location: Sequence[int | str]) -> str:
    """Return where a fault is, as people write it: ``envs.PATH``, ``ports[1]``."""
    field = ""
    for step in location:
        if isinstance(step, int):
            field += f"[{step}]"
        elif step != "[key]":
            # Whoever sends "KEY=value" for a name has sent a value, which is shown nowhere.
            name = step.partition("=")[0][:_MAX_NAME_CHARACTERS]
            field += ("." if field else "") + name
    return field or "body"


def _message(detail: ErrorDetails, known: Collection[str]) -> str:
    match detail["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            name = str(detail["loc"][-1])
            is_short = len(name) <= _MAX_NAME_CHARACTERS
            nearest = difflib.get_close_matches(name, known, n=1) if is_short else []
            return f"is unknown; did you mean {nearest[0]}?" if nearest else "is unknown"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "model_type" | "model_attributes_type":
            return "must be a JSON object"
        case _:
            return f"is not valid: {detail['msg']}"
