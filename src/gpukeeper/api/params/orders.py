"""What an order may say (contract §4.2), and its way into the domain."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from gpukeeper.api.params.fields import (
    COMMAND,
    PRINTABLE,
    EnvName,
    EnvValue,
    LabelName,
    LabelValue,
    PortText,
    Price,
    Region,
    without_repeats,
)
from gpukeeper.api.params.validation_messages import MAX_FAULTS, fault_message, faults_of
from gpukeeper.domain.errors import Fault, InvalidOrder
from gpukeeper.domain.instances import OnFailure, Order
from gpukeeper.domain.products import BillingMode
from gpukeeper.webhooks.guard import ForbiddenAddress
from gpukeeper.webhooks.urls import MAX_URL_LENGTH


def _allow_null(schema: dict[str, Any]) -> None:
    """Say that ``null`` for an optional field is the same as leaving it out."""
    for name, field in schema["properties"].items():
        if name not in schema["required"] and {"type": "null"} not in field.get("anyOf", ()):
            shown = {key: field.pop(key) for key in ("title", "description") if key in field}
            default = {"default": field.pop("default")} if "default" in field else {}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **default, **shown}


class OrderBody(BaseModel):
    """An order for a GPU instance."""

    model_config = ConfigDict(
        title="Order",
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        # The text of an error, as in a traceback, would quote what was sent.
        hide_input_in_errors=True,
        json_schema_extra=_allow_null,
    )

    name: Annotated[
        str,
        Field(
            pattern="^[A-Za-z0-9-]{1,48}$",
            description="What the instance is called; a mark is added to it at Novita.",
        ),
        fault_message("must be 1 to 48 letters, digits or hyphens"),
    ]
    product_name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            pattern=PRINTABLE,
            description="Novita's name of the product, such as `RTX 4090 24GB`; case and spaces "
            "do not count.",
        ),
        fault_message("must be the name of a product, of 1 to 255 characters"),
    ]
    template_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            pattern=PRINTABLE,
            description="The Novita template that supplies image, command, ports and environment.",
        ),
        fault_message("must be the id of a template, of 1 to 255 characters"),
    ]
    gpu_num: Annotated[
        int,
        Field(ge=1, le=8, description="How many GPUs."),
        fault_message("must be a whole number between 1 and 8"),
    ] = 1
    rootfs_size: Annotated[
        int,
        Field(ge=10, le=6144, description="The size of the root disk in GB."),
        fault_message("must be a whole number of GB between 10 and 6144"),
    ] = 60
    billing_mode: Annotated[
        Literal["spot", "onDemand"],
        Field(description="How Novita bills the machine; it may take spot machines back."),
        fault_message("must be 'spot' or 'onDemand'"),
    ] = "spot"
    region: Annotated[
        Region | None,
        Field(description="Where to buy: a region's name or cluster id; else GPUKEEPER_REGION."),
    ] = None
    regions: Annotated[
        list[Region],
        Field(
            max_length=20,
            json_schema_extra={"uniqueItems": True},
            description="Where to buy when the first region has none, cheapest first.",
        ),
        fault_message("must be a list of at most 20 regions", most=20),
        AfterValidator(without_repeats),
    ] = []
    max_price_per_hour: Annotated[
        Price | None,
        Field(description="US dollars for all GPUs together; nothing dearer is bought."),
    ] = None
    envs: Annotated[
        dict[EnvName, EnvValue],
        Field(
            max_length=100,
            json_schema_extra={"additionalProperties": False},
            description="Environment variables, laid over the template's.",
        ),
        fault_message("must be an object of at most 100 names and texts", most=100),
    ] = {}
    ports: Annotated[
        list[PortText] | None,
        Field(
            max_length=10,
            json_schema_extra={"uniqueItems": True},
            description="Ports to open instead of the template's.",
        ),
        fault_message("must be a list of at most 10 ports, such as 8000/http", most=10),
        AfterValidator(without_repeats),
    ] = None
    command: Annotated[
        str | None,
        Field(
            max_length=2047,
            pattern=COMMAND,
            description="The command to start instead of the template's.",
        ),
        fault_message("must be text of at most 2047 characters without control characters"),
    ] = None
    webhook_url: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_URL_LENGTH,
            description="An http or https URL that this instance's events are sent to as well.",
        ),
        fault_message(f"must be a URL of at most {MAX_URL_LENGTH} characters"),
    ] = None
    labels: Annotated[
        dict[LabelName, LabelValue],
        Field(
            max_length=32,
            json_schema_extra={"additionalProperties": False},
            description="Whatever the caller wants to find on the instance.",
        ),
        fault_message("must be an object of at most 32 names and texts", most=32),
    ] = {}
    startup_timeout: Annotated[
        int | None,
        Field(
            ge=10,
            le=86400,
            description="Seconds from creation to `running`, after which starting has failed; "
            "else GPUKEEPER_STARTUP_TIMEOUT.",
        ),
        fault_message("must be a whole number of seconds between 10 and 86400"),
    ] = None
    on_failure: Annotated[
        Literal["keep", "delete"],
        Field(description="What happens to a machine that did not come up."),
        fault_message("must be 'keep' or 'delete'"),
    ] = "keep"

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        given = {name: body[name] for name in body.keys() & FIELDS if body[name] is not None}
        # A body has room for a hundred thousand unknown ones; so many are named, and no more.
        unknown = islice((name for name in body if name not in FIELDS), MAX_FAULTS)
        return given | {name: body[name] for name in unknown}

    @field_validator("webhook_url")
    @classmethod
    def _vet(cls, url: str, info: ValidationInfo) -> str:
        # Given by order_of.
        assert info.context is not None
        try:
            return str(info.context(url))
        except ForbiddenAddress as error:
            raise ValueError(error.message) from error


FIELDS = frozenset(str(field.alias) for field in OrderBody.model_fields.values())


def order_of(
    body: Any,
    *,
    default_region: str,
    default_startup_timeout: timedelta,
    check_webhook_url: Callable[[str], str],
    faults: Sequence[Fault] = (),
) -> Order:
    """Return the order that a request's body asks for.

    ``check_webhook_url`` returns a URL in its normal form or raises ForbiddenAddress; ``faults``
    are those found elsewhere in the request.  Raises InvalidOrder with these and every fault of
    the body's.
    """
    try:
        asked = OrderBody.model_validate(body, context=check_webhook_url)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise InvalidOrder(faults=[*faults, *faults_of(details, known=FIELDS)]) from error
    if faults:
        raise InvalidOrder(faults=faults)
    timeout = asked.startup_timeout
    return Order(
        name=asked.name,
        product_name=asked.product_name,
        template_id=asked.template_id,
        gpu_num=asked.gpu_num,
        rootfs_size_gb=asked.rootfs_size,
        billing_mode=BillingMode(asked.billing_mode),
        region=asked.region or default_region,
        regions=tuple(asked.regions),
        max_price_per_hour=asked.max_price_per_hour,
        envs=asked.envs,
        ports=None if asked.ports is None else tuple(asked.ports),
        command=asked.command,
        webhook_url=asked.webhook_url,
        labels=asked.labels,
        startup_timeout=timedelta(seconds=timeout) if timeout else default_startup_timeout,
        on_failure=OnFailure(asked.on_failure),
    )
