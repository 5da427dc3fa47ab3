"""What the query of a listing may say; whatever else it says is refused."""

import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUseDefault

from gpukeeper.api.params.fields import PRINTABLE
from gpukeeper.api.params.validation_messages import fault_message
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import EventType
from gpukeeper.domain.instances import Status
from gpukeeper.domain.products import BillingMode


def _or_default(value: Any) -> Any:
    """Take an empty parameter, as forms send it, for one that is not given."""
    if value == "":
        raise PydanticUseDefault
    return value


def _number(value: Any) -> Any:
    """Read digits only: Python would also read ``1_0``, ``+1`` and digits of other scripts."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else None


def _truth(value: Any) -> Any:
    return {"true": True, "false": False}.get(value)


def _without_empty(value: Any) -> Any:
    """Leave empty parameters out, as forms send them."""
    return [each for each in value if each != ""] if isinstance(value, list) else value


def _statuses(value: Any) -> Any:
    """Read statuses that are repeated, or separated by commas; raises for a word that is none."""
    texts = value if isinstance(value, list) else []
    words = [word for text in texts for each in str(text).split(",") if (word := each.strip())]
    if not set(words) <= set(Status):
        raise ValueError(f"must be one of {', '.join(Status)}, or several of them")
    return list(dict.fromkeys(words))


MAY_BE_EMPTY = BeforeValidator(_or_default)

_AN_ID = "must be the id of an instance"

Limit = Annotated[
    int,
    Field(ge=1, le=1000, description="How many at most."),
    BeforeValidator(_number),
    fault_message("must be a whole number between 1 and 1000"),
    MAY_BE_EMPTY,
]
Cursor = Annotated[
    str | None,
    Field(max_length=512, description="The `nextCursor` of the page before."),
    fault_message("is not a cursor that this service has given"),
    MAY_BE_EMPTY,
]
Text = Annotated[
    str | None,
    Field(min_length=1, max_length=255, pattern=PRINTABLE),
    fault_message("must be text of 1 to 255 characters"),
    MAY_BE_EMPTY,
]


class _Query(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


class InstanceQuery(_Query):
    """Whether Novita is asked before the answer."""

    refresh: Annotated[
        bool,
        Field(description="Ask Novita now instead of answering from the store."),
        BeforeValidator(_truth),
        fault_message("must be true or false"),
        MAY_BE_EMPTY,
    ] = False


class AdoptionQuery(_Query):
    """Whether any machine may be adopted."""

    foreign: Annotated[
        bool,
        Field(description="Also a machine that does not carry this deployment's mark."),
        BeforeValidator(_truth),
        fault_message("must be true or false"),
        MAY_BE_EMPTY,
    ] = False


class InstancesQuery(_Query):
    """Which instances are listed."""

    status: Annotated[
        list[Status],
        Field(description="Only instances in this status; repeatable, or separated by commas."),
        BeforeValidator(_statuses),
    ] = []
    current: Annotated[
        bool,
        Field(
            description="Without those that have ended: deleted, lost, or refused with nothing "
            "bought. Not together with `status`."
        ),
        BeforeValidator(_truth),
        fault_message("must be true or false"),
        MAY_BE_EMPTY,
    ] = False
    name: Annotated[Text, Field(description="Only instances whose name contains this.")] = None
    limit: Limit = 100
    cursor: Cursor = None

    @field_validator("current")
    @classmethod
    def _stand_alone(cls, is_current: bool, info: ValidationInfo) -> bool:
        if is_current and info.data.get("status"):
            raise ValueError("cannot be combined with status")
        return is_current


class OffersQuery(_Query):
    """Which offers are listed, and for how many GPUs their price is."""

    product_name: Annotated[Text, Field(description="Only this product.")] = None
    region: Annotated[Text, Field(description="A region's name or cluster id.")] = None
    billing_mode: Annotated[
        BillingMode,
        Field(description="The prices of this billing mode."),
        fault_message(f"must be one of {', '.join(BillingMode)}"),
        MAY_BE_EMPTY,
    ] = BillingMode.SPOT
    gpu_num: Annotated[
        int,
        Field(ge=1, le=8, description="The price of so many GPUs together."),
        BeforeValidator(_number),
        fault_message("must be a whole number between 1 and 8"),
        MAY_BE_EMPTY,
    ] = 1
    rootfs_size: Annotated[
        int,
        Field(ge=10, le=6144, description="Only what has room for a disk of so many GB."),
        BeforeValidator(_number),
        fault_message("must be a whole number between 10 and 6144"),
        MAY_BE_EMPTY,
    ] = 60


class DeliveriesQuery(_Query):
    """Which deliveries are listed."""

    status: Annotated[
        DeliveryStatus | None,
        Field(description="Only deliveries in this status."),
        fault_message(f"must be one of {', '.join(DeliveryStatus)}"),
        MAY_BE_EMPTY,
    ] = None
    instance_id: Annotated[Text, Field(description="Only deliveries about this instance.")] = None
    limit: Limit = 100
    cursor: Cursor = None


class EventsQuery(_Query):
    """Which events are told, and after which one."""

    instance_id: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=128), fault_message(_AN_ID)]],
        Field(description="Only events of this instance, by either id; repeatable."),
        BeforeValidator(_without_empty),
    ] = []
    type: Annotated[
        list[Annotated[EventType, fault_message(f"must be one of {', '.join(EventType)}")]],
        Field(description="Only events of this type; repeatable."),
        BeforeValidator(_without_empty),
    ] = []
    last_event_id: Annotated[
        str | None,
        Field(description="As the header `Last-Event-ID`, for those who cannot send one."),
        MAY_BE_EMPTY,
    ] = None
