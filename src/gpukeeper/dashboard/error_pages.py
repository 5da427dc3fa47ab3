"""Say on a page what went wrong, in people's words, and where to go on from there."""

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gpukeeper.dashboard.assets import STATIC_PREFIX
from gpukeeper.dashboard.site import site_of
from gpukeeper.dashboard.template_engine import page
from gpukeeper.domain.errors import GpuKeeperError, InvalidOrder

_NOT_FOUND = 404
_METHOD_NOT_ALLOWED = 405

# What is asked for here, programs ask for, whatever they say that they accept.
_FOR_PROGRAMS = ("/api/", STATIC_PREFIX)


@dataclass(frozen=True, slots=True)
class _Way:
    """Where to go on, in words, and what to know before."""

    href: str
    words: str
    advice: str = ""


_HOME = _Way("/", "Go to the fleet")

# Where those go on who look for something that does not exist, by the beginning of its address.
_WAY_FROM = {
    "": _Way("/", "Show the current instances"),
    "instances": _Way("/?view=all", "Show all instances", "What has ended is listed, too."),
    "deliveries": _Way("/deliveries", "Show all deliveries"),
    "orphans": _Way("/orphans", "Show the orphans", "It may have been adopted or deleted since."),
}

_LATER = "Try again in a minute."

# What to do at a page; the words of the API are for programs.
_ADVICE = {
    "body_too_large": "Send less: no order needs that much.",
    "invalid_request": "",
    "novita_rate_limited": _LATER,
    "novita_timeout": _LATER,
    "novita_unavailable": _LATER,
    "store_unavailable": _LATER,
    "unsupported_media_type": "Use the form of the page.",
    "wrong_status": "Its status may have changed since you opened the page.",
}


def error_page(request: Request, error: GpuKeeperError) -> HTMLResponse:
    """Return the page that tells of an error."""
    kind = site_of(request).explain(error)
    # For the line that the log has about each request.
    request.scope["state"]["problem"] = {"code": error.error_code, "detail": error.message}
    is_missing = kind.status == _NOT_FOUND
    way = _way_on(request.url.path, is_missing=is_missing)
    return page(
        request,
        "error.html",
        http_status=kind.status,
        title=error.message.rstrip(".") if is_missing else kind.title,
        message="" if is_missing else error.message,
        faults=error.faults if isinstance(error, InvalidOrder) else (),
        advice=way.advice if is_missing else _ADVICE.get(error.error_code, kind.remedy),
        way=way,
    )


def install_error_pages(app: FastAPI) -> None:
    """Tell people on a page what programs are told as a problem: that a path leads nowhere."""
    tell_programs = app.exception_handlers[HTTPException]

    async def tell(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        is_missing = error.status_code in {_NOT_FOUND, _METHOD_NOT_ALLOWED}
        is_for_people = "text/html" in request.headers.get("accept", "")
        if is_missing and is_for_people and not request.url.path.startswith(_FOR_PROGRAMS):
            return error_page(request, GpuKeeperError("There is no such page.", code="not_found"))
        answer = tell_programs(request, error)
        return answer if isinstance(answer, Response) else await answer

    app.add_exception_handler(HTTPException, tell)


def _way_on(path: str, *, is_missing: bool) -> _Way:
    _, first, *rest = path.split("/")
    if is_missing:
        return _WAY_FROM.get(first, _HOME)
    if first == "instances" and rest:
        return _Way(f"/instances/{rest[0]}", "Go back to the instance")
    return _HOME
