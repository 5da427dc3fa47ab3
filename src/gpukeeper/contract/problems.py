"""The body of everything that does not succeed (RFC 9457)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gpukeeper.contract.instances import Attempt
from gpukeeper.contract.serialization import AlwaysSent, Body


@dataclass(frozen=True)
class FieldFault(Body):
    """One thing wrong with one field."""

    field: str
    """Such as `gpuNum`, `ports[1]`, `envs.PATH`."""
    message: str
    """Continues the field's name."""


@dataclass(frozen=True, kw_only=True)
class Problem(Body):
    """Why a request did not succeed (RFC 9457)."""

    may_be_left_out: ClassVar[Mapping[str, Any]] = {
        "errors": [],
        "instanceId": "",
        "attempts": [],
        "novitaReason": "",
    }

    type: str
    """Identifies the kind; leads to its description."""
    title: str
    status: int
    detail: str
    instance: str
    """The path that was asked for."""
    code: str
    """The stable word to branch on."""
    request_id: str
    errors: AlwaysSent[tuple[FieldFault, ...]] = None
    """With `invalid_request`."""
    instance_id: AlwaysSent[str] = None
    """With an order that failed: the instance that keeps the history."""
    attempts: AlwaysSent[tuple[Attempt, ...]] = None
    """With an order that failed: every try to buy."""
    novita_reason: AlwaysSent[str] = None
    """Novita's own word for its refusal."""
