"""The bodies that tell how the service is."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from gpukeeper.contract.serialization import Body, Json, OneOf


@dataclass(frozen=True)
class Live(Body):
    """The process answers."""

    status: Annotated[str, OneOf(Literal["live"])] = "live"


@dataclass(frozen=True)
class Ready(Body):
    """Whether the service can serve and its loops are alive; `problems` names what is not."""

    status: Annotated[str, OneOf(Literal["ready", "not ready"])]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Health(Ready):
    """A summary for people and dashboards."""

    __pydantic_config__: ClassVar[Json] = Body.__pydantic_config__ | {"extra": "allow"}

    @property
    def is_ready(self) -> bool:
        """Whether the service can serve and its loops are alive."""
        return self.status == "ready"
