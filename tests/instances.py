"""Instances for the tests, with the fields of their parts given side by side."""

from dataclasses import fields, replace
from typing import Any

from gpukeeper.domain.instances import Instance, Purchase, Watch
from gpukeeper.domain.machines import Machine

_PART_OF = {
    field.name: part
    for part, kind in (("purchase", Purchase), ("machine", Machine), ("watch", Watch))
    for field in fields(kind)
}


def edit(row: Instance, **facts: Any) -> Instance:
    """Return the instance with these facts, each in the part that it belongs to."""
    for name, fact in facts.items():
        part = _PART_OF.get(name)
        if part is not None:
            name, fact = part, replace(getattr(row, part), **{name: fact})
        row = replace(row, **{name: fact})
    return row


def build(**facts: Any) -> Instance:
    """Return a new instance with these facts."""
    own = {name: fact for name, fact in facts.items() if name not in _PART_OF}
    return edit(Instance(**own), **{name: facts[name] for name in facts.keys() - own.keys()})
