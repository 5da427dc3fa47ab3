"""The bytes of each response, or of a fault in its place, and how the connection ends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Literal

from gpukeeper.simulator.novita_api.fault_rules import Fault
from gpukeeper.simulator.novita_api.known_refusals import Refusal, unauthorized

_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
)
_TITLES = {502: "502 Bad Gateway", 503: "503 Service Unavailable", 504: "504 Gateway Time-out"}


@dataclass(frozen=True, slots=True)
class RawResponse:
    """The bytes that leave, the seconds they wait, and how the connection ends.

    Without a status nothing is sent.
    """

    status: int | None
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Literal["whole", "cut", "reset", "timeout"] = "whole"
    wait_seconds: float = 0.0


def encode_response(body: object, *, status: int = 200) -> RawResponse:
    """Return a body as it is; without one the response is an empty 204."""
    if body is None:
        return RawResponse(204)
    return RawResponse(status, json.dumps(body, ensure_ascii=False).encode())


def encode_refusal(refusal: Refusal) -> RawResponse:
    """Return a refusal in Novita's shape."""
    return encode_response(refusal.body(), status=refusal.status)


def make_faulty_response(fault: Fault, now: datetime) -> RawResponse:
    """Return the response of a fault in place of the true one."""
    headers = _retry_after(fault, now)
    match fault.kind:
        case "rate-limit":
            limited = Refusal(fault.status or 429, "RATE_LIMIT_EXCEEDED", "too many requests")
            return replace(encode_refusal(limited), headers=headers)
        case "error":
            error = Refusal(fault.status or 500, fault.reason, fault.message)
            return replace(encode_refusal(error), headers=headers)
        case "html":
            status = fault.status or 502
            page = _HTML.format(_TITLES.get(status, f"{status} Error"))
            return RawResponse(status, page.encode(), content_type="text/html", headers=headers)
        case "gateway":
            said = {"message": "no Route matched with those values", "request_id": "7f3a9c"}
            return encode_response(said, status=fault.status or 404)
        case "unauthorized":
            return encode_refusal(unauthorized())
        case "error-200":
            error = Refusal(fault.status or 500, fault.reason, fault.message)
            return replace(encode_refusal(error), status=200)
        case "reset":
            return RawResponse(None, ending="reset")
    assert fault.kind == "timeout", f"{fault.kind} needs a true response to spoil"
    return RawResponse(None, ending="timeout", wait_seconds=fault.seconds)


def spoil_response(fault: Fault, response: RawResponse, now: datetime) -> RawResponse:
    """Return the true ``response`` as the fault spoils it."""
    match fault.kind:
        case "slow":
            return replace(response, wait_seconds=fault.seconds if fault.when == "after" else 0.0)
        case "cut":
            return replace(response, ending="cut")
        case "truncated":
            return replace(response, body=response.body[: len(response.body) // 2])
        case "empty":
            return RawResponse(200)
        case "wrong-type":
            return replace(response, content_type="text/html")
        case "empty-list":
            return encode_response({"instances": [], "total": "0"})
        case "short-list":
            return _shorten(response, fault.rows)
        case "shift-pages":
            return response
    return make_faulty_response(fault, now)


def _shorten(response: RawResponse, rows: int) -> RawResponse:
    page = json.loads(response.body)
    if not page.get("instances"):
        return response
    return encode_response(page | {"instances": page["instances"][:rows]})


def _retry_after(fault: Fault, now: datetime) -> dict[str, str]:
    if fault.retry_after is None:
        return {}
    if fault.retry_after_as == "date":
        at = now + timedelta(seconds=fault.retry_after)
        return {"retry-after": format_datetime(at, usegmt=True)}
    return {"retry-after": f"{fault.retry_after:g}"}
