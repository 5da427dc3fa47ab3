"""Say in the OpenAPI document what a route answers: its successes and its problems."""

from collections import defaultdict
from typing import Any

from gpukeeper.contract.problems import Problem
from gpukeeper.contract.serialization import Body
from gpukeeper.web.problems import KINDS, PROBLEM_TYPE, problem_type

Responses = dict[int | str, dict[str, Any]]

REF = "#/components/schemas/{model}"

STALE_HEADERS = {
    "Warning": {
        "description": '`110 gpukeeper "Response is Stale"` when Novita could not be asked.',
        "schema": {"type": "string"},
    }
}
LOCATION_HEADERS = STALE_HEADERS | {
    "Location": {"description": "Where the instance is.", "schema": {"type": "string"}}
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
_AUTHENTICATE = {
    "WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}},
}


def document_success(
    status: int, model: type[Body], description: str, *, headers: dict[str, Any] | None = None
) -> Responses:
    """Describe a success."""
    # By reference: were it the route's model, each start would build the schemas of all bodies.
    schema = {"$ref": REF.format(model=model.__name__)}
    shown: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": schema}},
    }
    return {status: shown | ({"headers": headers} if headers else {})}


def document_problems(*codes: str) -> Responses:
    """Describe the problems that a route answers with, beside those that every route has."""
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in (
        "invalid_request",
        "unauthorized",
        "too_many_wrong_keys",
        "internal_error",
        "store_unavailable",
        *codes,
    ):
        by_status[KINDS[code].status].append(code)
    if 404 in by_status:
        # An id with an encoded slash makes a path that no route has.
        by_status[404].append("not_found")
    return {status: document_problem(*by_status[status]) for status in sorted(by_status)}


def document_problem(*codes: str) -> dict[str, Any]:
    """Describe the problems that share one status."""
    shown: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes),
        "content": {
            PROBLEM_TYPE: {
                "schema": {"$ref": REF.format(model=Problem.__name__)},
                "examples": {code: {"value": _example(code)} for code in codes},
            }
        },
    }
    headers = {401: _AUTHENTICATE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}.get(KINDS[codes[0]].status)
    return shown | ({"headers": headers} if headers else {})


def _example(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    faults = {"errors": [{"field": "gpuNum", "message": "must be a whole number between 1 and 8"}]}
    return {
        "type": problem_type(code),
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
        "instance": "/api/instances",
        "code": code,
        "requestId": "req_3f1c9a52d0b84e7f",
        **(faults if code == "invalid_request" else {}),
    }
