"""Novita's JSON as models so tolerant that every JSON object is one.

What is missing, null, of another type or out of range reads as unset; unknown fields are dropped
and unknown words kept (Novita API notes §2).  Only fields that somebody uses are declared, so
that no secret is held without need; the declared ones are wrapped in ``SecretStr`` on arrival.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

# Novita's numbers are 64-bit integers (§2): whatever is larger is garbage.
_NUMBER_LIMIT = 2**63
# So many digits are below that limit, whatever they are.
_SHORT_DIGITS = 18


def _whole(value: object) -> int | None:
    # Nearly all of them are short and plain; a look at a large fleet reads a hundred thousand.
    if type(value) is str and len(value) <= _SHORT_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    is_number = number.is_finite() and -_NUMBER_LIMIT < number < _NUMBER_LIMIT
    return int(number) if is_number else None


def _count(value: object) -> int:
    return max(_whole(value) or 0, 0)


def _text(value: object) -> str:
    if isinstance(value, str):
        # A lone surrogate is valid JSON but can be neither stored nor sent.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    return "" if isinstance(value, bool) or _whole(value) is None else str(value)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [text for item in _items(value) if (text := _text(item))]


def _counts(value: object) -> list[int]:
    return [_count(item) for item in _items(value)]


def _objects(value: object) -> list[object]:
    return [item for item in _items(value) if isinstance(item, dict)]


def _object(value: object) -> object:
    return value if isinstance(value, dict) else {}


def _detail(value: object) -> object:
    return {"message": value} if isinstance(value, str) else _object(value)


def _is_not_no(value: object) -> bool:
    return value not in (False, 0, "0", "false", "False")


T = TypeVar("T")
Text = Annotated[str, BeforeValidator(_text)]
Secret = Annotated[SecretStr, BeforeValidator(_text)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
Whole = Annotated[int | None, BeforeValidator(_whole)]
Count = Annotated[int, BeforeValidator(_count)]
Counts = Annotated[list[int], BeforeValidator(_counts)]
TrueUnlessNo = Annotated[bool, BeforeValidator(_is_not_no)]
ListOf = Annotated[list[T], BeforeValidator(_objects)]
Nested = Annotated[T, BeforeValidator(_object)]

NO_SECRET = SecretStr("")


class NovitaModel(BaseModel):
    """What all of Novita's objects have in common."""

    # The text of an error, as in a traceback, would quote what Novita said.
    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, hide_input_in_errors=True
    )


class StatusError(NovitaModel):
    """Why a machine did not come up or is unavailable; both fields empty while all is well."""

    state: Text = ""
    message: Text = ""


class PortMapping(NovitaModel):
    """One published port of a machine; the endpoint is empty until the container is placed."""

    port: Count = 0
    endpoint: Text = ""
    type: Text = ""


class SshAccess(NovitaModel):
    """The SSH command and password of a running machine; both change on every start (§3.3)."""

    ssh_command: Text = ""
    password: Secret = NO_SECRET


class Variable(NovitaModel):
    """One environment variable of a template or a machine (§3.3)."""

    key: Text = ""
    value: Secret = NO_SECRET


class Machine(NovitaModel):
    """One machine, as listed or as got alone (§3.3)."""

    id: Text = ""
    name: Text = ""
    status: Text = ""
    status_error: Nested[StatusError] = StatusError()
    cluster_id: Text = ""
    cluster_name: Text = ""
    product_id: Text = ""
    product_name: Text = ""
    image_url: Text = ""
    gpu_num: Count = 0
    rootfs_size: Count = 0
    billing_mode: Text = ""
    instance_price: Count = 0
    port_mappings: ListOf[PortMapping] = []
    spot_status: Text = ""
    spot_reclaim_time: Whole = None
    created_at: Whole = None
    last_started_at: Whole = None
    envs: ListOf[Variable] = []
    ssh_password: Secret = NO_SECRET
    ssh_access: Nested[SshAccess] = Field(default=SshAccess(), alias="connectComponentSSH")


class MachinePage(NovitaModel):
    """One page of the list of machines (§3.2); ``total`` is ``None`` when it is unreadable."""

    instances: Annotated[list[Nested[Machine]], BeforeValidator(_items)] = []
    total: Whole = None


class Product(NovitaModel):
    """A kind of machine; prices in 1/100000 USD per GPU and hour (§3.7)."""

    id: Text = ""
    name: Text = ""
    price: Count = 0
    spot_price: Count = 0
    available_deploy: TrueUnlessNo = True
    inventory_state: Text = ""
    min_root_fs: Count = Field(default=0, alias="minRootFS")
    max_root_fs: Count = Field(default=0, alias="maxRootFS")
    regions: Texts = []
    billing_methods: Texts = []


class Products(NovitaModel):
    """The answer of the product list."""

    data: ListOf[Product] = []


class Cluster(NovitaModel):
    """One region (§3.8)."""

    id: Text = ""
    name: Text = ""


class Clusters(NovitaModel):
    """The answer of the cluster list."""

    data: ListOf[Cluster] = []


class TemplatePorts(NovitaModel):
    """Ports of a template that share a type (§3.11)."""

    type: Text = ""
    ports: Counts = []


class Tool(NovitaModel):
    """A tool that a template asks for."""

    name: Text = ""
    port: Text = ""
    type: Text = ""


class Template(NovitaModel):
    """What a new machine is given; ``image_auth`` is an id, or ``user:password`` (§3.11)."""

    id: Text = Field(default="", alias="Id")
    name: Text = ""
    image: Text = ""
    image_auth: Secret = NO_SECRET
    start_command: Text = ""
    ports: ListOf[TemplatePorts] = []
    envs: ListOf[Variable] = []
    tools: ListOf[Tool] = []
    min_cuda_version: Text = ""


class TemplatePage(NovitaModel):
    """One page of the list of templates, whose list is called ``template`` (§3.11)."""

    template: ListOf[Template] = []


class RegistryAuth(NovitaModel):
    """Credentials of an image registry; Novita returns the password in clear (§3.9)."""

    id: Text = ""
    name: Text = ""
    username: Text = ""
    password: Secret = NO_SECRET


class RegistryAuths(NovitaModel):
    """The answer of the list of registry credentials."""

    data: ListOf[RegistryAuth] = []


class Balance(NovitaModel):
    """The account's money in 1/10000 USD (§3.14), unlike prices."""

    available_balance: Whole = None


class Created(NovitaModel):
    """The answer of a purchase: only the id (§3.1)."""

    id: Text = ""


class Changed(NovitaModel):
    """The answer to a verb, where it has one: which machine it was about (§3.4)."""

    instance_id: Text = ""


class ErrorDetail(NovitaModel):
    """What an error says; ``code`` is a number, or in some answers the reason (§5)."""

    code: Count = 0
    code_text: Text = Field(default="", alias="code")
    reason: Text = ""
    message: Text = ""


class ErrorBody(ErrorDetail):
    """An error as Novita writes it: flat, or under ``error``, which may also be a text."""

    error: Annotated[ErrorDetail, BeforeValidator(_detail)] = ErrorDetail()
