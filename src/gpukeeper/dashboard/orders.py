"""The order form: what is for sale side by side, and faults at the fields that have them."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpukeeper.dashboard.forms import Form, read_form
from gpukeeper.dashboard.offers import Choices, choices_of
from gpukeeper.dashboard.site import Site, check_id, site_of
from gpukeeper.dashboard.template_engine import page
from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidOrder
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.products import BillingMode
from gpukeeper.service import OrderFailed

# What stands in the form at first: the contract's defaults.
_DEFAULTS: Form = {
    "gpuNum": "1",
    "rootfsSize": "60",
    "billingMode": BillingMode.SPOT.value,
    "onFailure": "keep",
}
_FIELDS = (
    *("name", "productName", "templateId", "otherTemplateId", "gpuNum", "rootfsSize"),
    *("billingMode", "region", "regions", "maxPricePerHour", "envs", "ports", "command"),
    *("webhookUrl", "labels", "startupTimeout", "onFailure"),
)
# What the form calls its fields: faults name them so, too.
LABELS = {
    "name": "Name",
    "productName": "Product",
    "templateId": "Template",
    "otherTemplateId": "Another template, by id",
    "gpuNum": "GPUs",
    "rootfsSize": "Disk, GB",
    "billingMode": "Billing",
    "region": "Region",
    "regions": "Other regions",
    "maxPricePerHour": "At most, $ per hour",
    "envs": "Environment",
    "ports": "Ports",
    "command": "Command",
    "webhookUrl": "Webhook",
    "labels": "Labels",
    "startupTimeout": "Seconds until it must run",
    "onFailure": "If it does not come up",
}
# Names that are no English words, and so stand for nothing but a field.
_NAMES_IN_TEXT = re.compile("|".join(rf"\b{name}\b" for name in LABELS if not name.islower()))
_NUMBERS = frozenset({"gpuNum", "rootfsSize", "startupTimeout"})
_LISTS = frozenset({"regions", "ports"})
_MAX_PARTS = 100
_PAIRS = frozenset({"envs", "labels"})

# The field that has to change where Novita refused, or the price does.
_FIELD_OF_CODE = {
    "product_not_found": "productName",
    "out_of_stock": "productName",
    "template_not_found": "templateId",
    "region_not_found": "region",
    "price_above_limit": "maxPricePerHour",
}

# No line of a certificate or the like, which a value of several lines would leave.
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

_KEY = re.compile(r"[\x21-\x7e]{16,255}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order was not placed: faults by field, a sentence, and the row that it left."""

    status: int
    message: str
    faults: dict[str, list[str]] = field(default_factory=dict)
    failed: Instance | None = None


async def show_form(request: Request) -> Response:
    """Show the form; the query may fill it in, or name an instance to order one ``like`` it."""
    given = {name: text for name, text in request.query_params.items() if name in _FIELDS}
    like = request.query_params.get("like", "")
    filled = await _form_like(site_of(request), like) if like else {}
    return await _form(request, _DEFAULTS | filled | given)


async def _form_like(site: Site, instance_id: str) -> Form:
    """Return the form as it was for an instance, with the names alone of its environment.

    Raises NotFound.
    """
    view = await site.service.instance(check_id(instance_id))
    order = view.instance.order
    names = await site.service.env_names(view.instance.id)
    limit = order.max_price_per_hour
    return {
        "name": order.name,
        "productName": view.instance.machine.product_name or order.product_name,
        "templateId": order.template_id,
        "gpuNum": str(order.gpu_num),
        "rootfsSize": str(order.rootfs_size_gb),
        "billingMode": order.billing_mode.value,
        "region": order.region,
        "regions": ", ".join(order.regions),
        "maxPricePerHour": "" if limit is None else f"{limit:f}",
        "envs": "\n".join(f"{name}=" for name in names),
        "ports": ", ".join(map(str, order.ports or ())),
        "command": order.command or "",
        "webhookUrl": order.webhook_url or "",
        "labels": "\n".join(f"{key}={text}" for key, text in order.labels.items()),
        "startupTimeout": f"{order.startup_timeout.total_seconds():.0f}",
        "onFailure": order.on_failure.value,
    }


async def place_order(request: Request) -> Response:
    """Order and show the instance, or show the form again with what is wrong."""
    site = site_of(request)
    form = await read_form(request)
    if form.get("intent") == "prices":
        return await _form(request, form)
    try:
        _check_blanked(form)
        body = order_body(form)
        view = await site.service.order(
            _read_order(site, body),
            idempotency_key=_key(form, site),
            body_hash=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
        )
    except GpuKeeperError as error:
        kind = site.explain(error)
        if kind.status == 500:
            raise
        request.scope["state"]["problem"] = {"code": error.error_code, "detail": error.message}
        return await _form(request, form, _refusal(error, kind.status))
    return RedirectResponse(f"/instances/{view.instance.id}", 303)


def order_body(form: Form) -> dict[str, Any]:
    """Return what the API calls the body of an order; whatever is empty is left out.

    Numbers that are none stay text, so that the API's own words say what is wrong.
    """
    body: dict[str, Any] = {}
    for name in _FIELDS:
        text = form.get(name, "")
        if not text or name == "otherTemplateId":
            continue
        if name in _NUMBERS:
            body[name] = int(text) if re.fullmatch("[0-9]{1,9}", text) else text
        elif name in _LISTS:
            body[name] = _parts(text)
        elif name in _PAIRS:
            body[name] = _lines(text)
        else:
            body[name] = text
    # An id that was typed says more than what happened to be selected.
    if form.get("otherTemplateId"):
        body["templateId"] = form["otherTemplateId"]
    return body


def _parts(text: str) -> list[str]:
    """Return what spaces and commas part; beyond what any field may hold, the rest is one."""
    return [part for part in re.split(r"[\s,]+", text, maxsplit=_MAX_PARTS) if part]


def _lines(text: str) -> list[list[str]]:
    return [line.split("=", 1) for line in text.splitlines() if line.strip()]


def _read_order(site: Site, body: dict[str, Any]) -> Any:
    """Return the order.  Raises InvalidOrder with the faults of the form and of the API."""
    faults: list[Fault] = []
    for name in _PAIRS & body.keys():
        pairs, faults_here = _pairs(name, body[name])
        body = body | {name: pairs}
        faults += faults_here
    try:
        order = site.read_order(body)
    except InvalidOrder as error:
        raise InvalidOrder(
            error.message, code=error.error_code, faults=[*faults, *error.faults]
        ) from error
    if faults:
        raise InvalidOrder(faults=faults)
    return order


def _check_blanked(form: Form) -> None:
    """Refuse an order whose environment lacks the values that no page sends back.

    Raises InvalidOrder.
    """
    blanked = set(form.get("blanked", "").split())
    empty = [parts[0].strip() for parts in _lines(form.get("envs", "")) if not parts[-1].strip()]
    missing = [name for name in empty if name in blanked]
    if missing:
        names = ", ".join(missing)
        raise InvalidOrder(faults=[Fault("envs", f"must have the value of {names} typed again")])


def _without_values(envs: str) -> tuple[str, ...]:
    """Return the names in an environment: its values are shown nowhere (contract §4.3)."""
    names = (parts[0].strip() for parts in _lines(envs) if len(parts) == 2)
    return tuple(dict.fromkeys(name for name in names if _ENV_NAME.fullmatch(name)))


def _pairs(name: str, lines: list[list[str]]) -> tuple[dict[str, str], list[Fault]]:
    pairs: dict[str, str] = {}
    faults: list[Fault] = []
    for number, parts in enumerate(lines, start=1):
        key = parts[0].strip()
        if len(parts) < 2:
            faults.append(Fault(name, f"must have a '=' in line {number}"))
        elif key in pairs:
            faults.append(Fault(name, f"must not name {key} twice"))
        else:
            pairs[key] = parts[1].strip()
    return pairs, faults


def _key(form: Form, site: Site) -> str:
    """Return the key that came with the form, so that sending it twice orders once."""
    key = form.get("key", "")
    return key if _KEY.fullmatch(key) else site.new_token()


def _refusal(error: GpuKeeperError, status: int) -> Refusal:
    faults: dict[str, list[str]] = {}
    found = error.faults if isinstance(error, InvalidOrder) else ()
    for fault in found:
        # `envs.PATH` and `ports[1]` are both parts of one field of the form.
        faults.setdefault(re.split(r"[.\[]", fault.field)[0], []).append(_sentence(fault))
    if not found and error.error_code in _FIELD_OF_CODE:
        faults[_FIELD_OF_CODE[error.error_code]] = [_in_words(error.message)]
    return Refusal(
        status=status,
        message="Nothing was ordered. Correct what is marked."
        if faults
        else f"Nothing was ordered. {_in_words(error.message)}",
        faults=faults,
        failed=error.instance if isinstance(error, OrderFailed) else None,
    )


def _sentence(fault: Fault) -> str:
    """Return a fault as the words under its field; what is inside of the field keeps its name."""
    _, sign, inner = re.split(r"([.\[]|$)", fault.field, maxsplit=1)
    words = _in_words(fault.message)
    if sign == "[":
        # Programs count from 0, people do not.
        return f"entry {int(inner.removesuffix(']')) + 1} {words}"
    return f"{inner} {words}" if inner else words


def _in_words(text: str) -> str:
    """Return a sentence of the API with the fields as the form calls them."""
    return _NAMES_IN_TEXT.sub(lambda found: f"'{LABELS[found[0]]}'", text)


async def _form(request: Request, form: Form, refusal: Refusal | None = None) -> Response:
    site = site_of(request)
    values = dict.fromkeys(_FIELDS, "") | form
    values["region"] = values["region"] or site.default_region
    names = _without_values(values["envs"])
    values["envs"] = "\n".join(f"{name}=" for name in names)
    choices, problem = await _choices(site, values)
    return page(
        request,
        "order.html",
        http_status=refusal.status if refusal else 200,
        values=values,
        blanked=" ".join(names),
        choices=choices,
        problem=problem,
        refusal=refusal,
        faults=refusal.faults if refusal else {},
        labels=LABELS,
        # A new one each time: what was refused with the one before may be sent again.
        key=site.new_token(),
    )


async def _choices(site: Site, values: Form) -> tuple[Choices | None, str]:
    """Return what is for sale, or why that is not known."""
    is_mode = values["billingMode"] in set(BillingMode)
    is_number = re.fullmatch("[1-8]", values["gpuNum"])
    is_size = re.fullmatch("[0-9]{1,4}", values["rootfsSize"])
    try:
        shop = await site.overview.shop(
            region=values["region"],
            billing_mode=BillingMode(values["billingMode"]) if is_mode else BillingMode.SPOT,
            gpu_num=int(values["gpuNum"]) if is_number else 1,
            rootfs_size_gb=int(values["rootfsSize"] if is_size else _DEFAULTS["rootfsSize"]),
        )
    except GpuKeeperError as error:
        if site.explain(error).status == 500:
            raise
        return None, error.message
    return choices_of(shop, chosen=values["productName"]), ""
