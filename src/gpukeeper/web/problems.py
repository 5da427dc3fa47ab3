"""WHERE AN ERROR BECOMES HTTP: one table from an error's code to its status and its words.

Every answer that is not a success is a problem (RFC 9457) made here.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Scope

from gpukeeper.contract.instances import describe_attempts
from gpukeeper.contract.problems import FieldFault, Problem
from gpukeeper.contract.serialization import to_dict
from gpukeeper.domain.errors import (
    Fault,
    GpuKeeperError,
    InvalidOrder,
    NovitaError,
    NovitaUnavailable,
    StoreUnavailable,
    TooManyWrongKeys,
)
from gpukeeper.service import OrderFailed, OrderRefused
from gpukeeper.web.server.root_path import root_of

PROBLEM_TYPE = "application/problem+json"

# When Novita does not say how long it will be away, half a minute spares it and tries callers'
# patience little.
DEFAULT_RETRY_AFTER_SECONDS = 30
# A database that fails over, or is locked, is back within seconds.
_STORE_RETRY_AFTER_SECONDS = 5

# The faults that the one-sentence detail of a problem names; all of them are in its ``errors``.
_FAULTS_IN_DETAIL = 3


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem: its HTTP status, what it means, and what to do about it."""

    status: int
    title: str
    meaning: str
    remedy: str


KINDS: Mapping[str, ProblemKind] = {
    "invalid_request": ProblemKind(
        400,
        "The request is not valid",
        "The body, the query, a header or the path is wrong. Each fault is listed in `errors` "
        "with its field.",
        "Correct the fields that are named and send the request again.",
    ),
    "product_not_found": ProblemKind(
        400,
        "There is no such product",
        "Novita sells nothing of this name, or several products match it. The nearest names are "
        "in `detail`.",
        "Order one of the names that `GET /api/offers` shows.",
    ),
    "template_not_found": ProblemKind(
        400,
        "There is no such template",
        "The Novita account has no template with this id.",
        "Copy the template's id from Novita's console.",
    ),
    "region_not_found": ProblemKind(
        400,
        "There is no such region",
        "Novita has no region of this name or cluster id. All that there are stand in `detail`.",
        "Use one of these, or none: GPUKEEPER_REGION, CN-HK-01 unless set, is meant then.",
    ),
    "unauthorized": ProblemKind(
        401,
        "A valid API key is needed",
        "The request carries no key, or one that is not known here. Without any configured key, "
        "only requests from this machine to this machine are served.",
        "Send `Authorization: Bearer <key>` with one of GPUKEEPER_API_KEYS.",
    ),
    "too_many_wrong_keys": ProblemKind(
        429,
        "Too many wrong keys",
        "Too many requests with a wrong key have come from this address. Until the seconds in "
        "`Retry-After` have passed, further wrong keys from there get this answer. Right keys are "
        "let in.",
        "Correct the key of the program that sends a wrong one. Behind a proxy, name it in "
        "GPUKEEPER_TRUSTED_PROXIES: otherwise all its clients count as one.",
    ),
    "insufficient_balance": ProblemKind(
        402,
        "The Novita account has no money",
        "Novita refused to sell because the account's balance is too low.",
        "Top up the account at Novita, then order again.",
    ),
    "instance_not_found": ProblemKind(
        404,
        "There is no such instance",
        "Neither an instance's id nor Novita's id of one is like this.",
        "Look the id up in `GET /api/instances`; for orphans, in `GET /api/orphans`.",
    ),
    "delivery_not_found": ProblemKind(
        404,
        "There is no such delivery",
        "No webhook delivery has this id.",
        "Look the id up in `GET /api/deliveries`.",
    ),
    "not_found": ProblemKind(
        404,
        "There is no such page",
        "The service has no route of this path.",
        "Compare the path with those in `/docs`.",
    ),
    "method_not_allowed": ProblemKind(
        405,
        "The method is not allowed here",
        "The path exists, but not for this method.",
        "Use one of the methods in the `Allow` header.",
    ),
    "wrong_status": ProblemKind(
        409,
        "The instance's status does not allow this",
        "What was asked makes no sense in the instance's present status.",
        "Wait until the instance is in a status that allows it, then ask again.",
    ),
    "foreign_machine": ProblemKind(
        409,
        "The machine carries another mark",
        "The name of the machine does not carry this deployment's mark: another program or person "
        "may have bought it.",
        "If it is yours, adopt it with `?foreign=true` (`gpukeeper orphans adopt --foreign`); what "
        "is adopted can be deleted.",
    ),
    "idempotency_key_reused": ProblemKind(
        409,
        "The Idempotency-Key belongs to another order",
        "An order with this key and another body was sent before.",
        "Use a new key for a new order, and the same body when an order is repeated.",
    ),
    "out_of_stock": ProblemKind(
        409,
        "Nothing is for sale that fits",
        "Novita has no machine left that fits the order. All tries are in `attempts`.",
        "Try later, name more `regions`, or take another product or billing mode.",
    ),
    "price_above_limit": ProblemKind(
        409,
        "Everything that fits is too dear",
        "Machines are for sale, but none within `maxPricePerHour`.",
        "Raise `maxPricePerHour`, name more `regions`, or try later.",
    ),
    "quota_exceeded": ProblemKind(
        409,
        "The Novita account's quota is used up",
        "Novita allows this account no more instances or GPUs at the same time.",
        "Delete instances that are not needed, or have Novita raise the quota.",
    ),
    "body_too_large": ProblemKind(
        413,
        "The body is too large",
        "The request's body has more than 1 MiB.",
        "Send less: no valid order comes near that size.",
    ),
    "unsupported_media_type": ProblemKind(
        415,
        "The body is not JSON",
        "The request has a body whose content type is not `application/json`.",
        "Send JSON with `Content-Type: application/json`.",
    ),
    "request_too_slow": ProblemKind(
        408,
        "The request took too long to arrive",
        "The head of a request has 10 seconds to arrive, its body another 60.",
        "Send the request again, all of it at once.",
    ),
    "headers_too_large": ProblemKind(
        431,
        "The headers are too large",
        "The request's line and headers have more than 64 KiB together.",
        "Send fewer headers; a browser's cookies of other programs at this host count, too.",
    ),
    "internal_error": ProblemKind(
        500,
        "Something went wrong in gpukeeper",
        "A fault of the service's own. It is logged with its traceback under `requestId`.",
        "Look the `requestId` up in the log, and report the fault with what stands there.",
    ),
    "novita_rejected": ProblemKind(
        502,
        "Novita refused",
        "Novita refused for a reason that has no code of its own here. Novita's own word for it "
        "is in `novitaReason`, its message in `detail`.",
        "Read the message; the order or its template may ask for something impossible.",
    ),
    "novita_credentials": ProblemKind(
        502,
        "Novita refused the service's own key",
        "The NOVITA_API_KEY that the service was started with is wrong or may not do this.",
        "Correct NOVITA_API_KEY and restart the service.",
    ),
    "novita_rate_limited": ProblemKind(
        503,
        "Novita asks for fewer calls",
        "Novita refused several times in a row because of too many calls.",
        "Send the request again after the seconds in `Retry-After`; an order that bought nothing "
        "is tried anew, under the same Idempotency-Key too.",
    ),
    "novita_unavailable": ProblemKind(
        503,
        "Novita cannot be reached",
        "Novita could not be reached, or answered with faults of its own, several times in a row.",
        "Send the request again after the seconds in `Retry-After`; an order that bought nothing "
        "is tried anew, under the same Idempotency-Key too.",
    ),
    "too_many_connections": ProblemKind(
        503,
        "Too many connections",
        "All of the service's connections are busy.",
        "Send the request again after the seconds in `Retry-After`.",
    ),
    "store_restored": ProblemKind(
        503,
        "The database was restored",
        "The database is a copy from earlier. What was bought since is at Novita, and is looked "
        "for before anything is bought again: two complete looks, about a minute.",
        "Send the order again after the seconds in `Retry-After`, with the same Idempotency-Key: "
        "it finds what it has bought. `gpukeeper restore --lift` takes orders at once.",
    ),
    "store_unavailable": ProblemKind(
        503,
        "Nothing can be stored at present",
        "The service's disk is full or broken, its database is damaged or locked by another "
        "process, or the database's server is away, fails over, or takes no changes; `detail` says "
        "which. Nothing of the request was stored.",
        "Make room on the disk of GPUKEEPER_DATA_DIR, end what locks the database, restore a "
        "damaged one, or look after its server; the service goes on by itself. Send the request "
        "again after the seconds in `Retry-After`.",
    ),
    "novita_timeout": ProblemKind(
        504,
        "Novita did not answer in time",
        "Novita was asked several times and did not answer within GPUKEEPER_NOVITA_TIMEOUT.",
        "Send the request again in a while; an order that bought nothing is tried anew, under the "
        "same Idempotency-Key too.",
    ),
}


def kind_of(error: GpuKeeperError) -> tuple[str, ProblemKind]:
    """Return an error's code and kind; a code that callers do not know is a fault of ours."""
    code = error.error_code if error.error_code in KINDS else GpuKeeperError.code
    return code, KINDS[code]


def problem_type(code: str) -> str:
    """Return the URI that identifies a kind of problem, relative to the service."""
    return f"/problems#{code.replace('_', '-')}"


def problem(
    scope: Scope, error: GpuKeeperError, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer that tells a caller of an error."""
    code, kind = kind_of(error)
    detail = kind.meaning if code == GpuKeeperError.code else _detail(error)
    state = scope.setdefault("state", {})
    # For the line that the log has about each request.
    state["problem"] = {"code": code, "detail": detail}
    if isinstance(error, OrderFailed):
        state["problem"]["instance_id"] = error.instance.id
    root = root_of(scope)
    body = Problem(
        type=root + problem_type(code),
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=root + quote(scope["path"]),
        code=code,
        request_id=state.get("request_id", ""),
        **_extensions(error),
    )
    return Response(
        json.dumps({name: value for name, value in to_dict(body).items() if value is not None}),
        kind.status,
        {**headers_of(error), **(headers or {})},
        media_type=PROBLEM_TYPE,
    )


def _detail(error: GpuKeeperError) -> str:
    if not isinstance(error, InvalidOrder) or not error.faults or error.message != error.__doc__:
        return error.message
    named = [_sentence(fault) for fault in error.faults[:_FAULTS_IN_DETAIL]]
    more = len(error.faults) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "")


def _extensions(error: GpuKeeperError) -> dict[str, Any]:
    if isinstance(error, OrderFailed):
        return {
            "instance_id": error.instance.id,
            "attempts": describe_attempts(error.instance.purchase.attempts),
            "novita_reason": error.novita_reason or None,
        }
    if isinstance(error, OrderRefused):
        return {"attempts": describe_attempts(error.attempts)}
    if isinstance(error, InvalidOrder) and error.faults:
        return {"errors": tuple(FieldFault(each.field, each.message) for each in error.faults)}
    if isinstance(error, NovitaError) and error.reason:
        return {"novita_reason": error.reason}
    return {}


def _sentence(fault: Fault) -> str:
    """Return a fault as part of a sentence; what is a sentence of its own stands after a colon."""
    separator = ": " if fault.message[:1].isupper() else " "
    return f"{fault.field}{separator}{fault.message}"


def headers_of(error: GpuKeeperError) -> dict[str, str]:
    """Return the headers that the answer to an error has."""
    _, kind = kind_of(error)
    if kind.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    retry_after = _retry_after(error)
    if retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(retry_after.total_seconds())))}
    if isinstance(error, StoreUnavailable):
        return {"Retry-After": str(_STORE_RETRY_AFTER_SECONDS)}
    return {"Retry-After": str(DEFAULT_RETRY_AFTER_SECONDS)} if kind.status == 503 else {}


def _retry_after(error: GpuKeeperError) -> timedelta | None:
    if isinstance(error, NovitaUnavailable | OrderFailed | TooManyWrongKeys):
        return error.retry_after
    return None
