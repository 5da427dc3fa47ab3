"""The pages where people sign in at the dashboard, and out again."""

from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gpukeeper.domain.errors import (
    Fault,
    GpuKeeperError,
    InvalidOrder,
    TooManyWrongKeys,
    Unauthorized,
)
from gpukeeper.web.body import is_json, json_body, read_body
from gpukeeper.web.keys import Keys
from gpukeeper.web.origins import check_not_foreign, is_from_https
from gpukeeper.web.pages import Frame
from gpukeeper.web.problems import headers_of, kind_of
from gpukeeper.web.server.root_path import path_below
from gpukeeper.web.sessions import COOKIE, LIFETIME, Sessions

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"

# Where people go who did not ask for a page.
_HOME = "/"

# A form of ours has two fields.
_MAX_FIELDS = 10

_FORM_TYPE = "application/x-www-form-urlencoded"


def login_routes(keys: Keys, sessions: Sessions, frame: Frame, *, root_path: str = "") -> APIRouter:
    """Return the routes; they let everybody in, and must not ask for a key."""
    router = APIRouter(include_in_schema=False)

    def show_form(place: str, error: GpuKeeperError | None = None) -> Response:
        return _login_page(frame, root_path + LOGIN_PATH, place, error)

    def attributes(request: Request) -> dict[str, Any]:
        # What else this host serves beside us is not shown the cookie.
        return {"path": root_path or "/", **_attributes(request)}

    @router.get(LOGIN_PATH)
    async def show_login(request: Request) -> Response:
        place = _local(request.query_params.get("next", _HOME), root_path)
        if not keys or sessions.is_signed_in(request.headers):
            return RedirectResponse(place, 303)
        return show_form(place)

    @router.post(LOGIN_PATH)
    async def sign_in(request: Request) -> Response:
        check_not_foreign(request.headers)
        if not keys:
            return RedirectResponse(_HOME, 303)
        fields = await _fields(request)
        place = _local(fields.get("next", _HOME), root_path)
        try:
            digest = keys.recognise(fields["key"], request.scope)
        except (Unauthorized, TooManyWrongKeys) as error:
            if is_json(request.headers):
                raise
            return show_form(place, error)
        response = RedirectResponse(place, 303)
        response.set_cookie(
            COOKIE,
            sessions.open(digest),
            max_age=int(LIFETIME.total_seconds()),
            **attributes(request),
        )
        return response

    @router.post(LOGOUT_PATH)
    async def sign_out(request: Request) -> Response:
        check_not_foreign(request.headers)
        response = RedirectResponse(LOGIN_PATH, 303)
        response.delete_cookie(COOKIE, **attributes(request))
        return response

    return router


def _attributes(request: Request) -> dict[str, Any]:
    """Return what keeps the cookie from scripts, foreign pages and those who listen."""
    # Of a proxy that speaks https for us, the browser tells; headers of proxies are not trusted.
    is_secure = request.url.scheme == "https" or is_from_https(request.headers)
    return {"httponly": True, "samesite": "strict", "secure": is_secure}


async def _fields(request: Request) -> dict[str, str]:
    """Return what a form or a JSON object says; ``key`` is among it.

    Raises ``unsupported_media_type``, ``body_too_large`` and InvalidOrder.
    """
    if is_json(request.headers):
        body = await json_body(request)
        found = body if isinstance(body, dict) else {}
        fields = {name: value for name, value in found.items() if isinstance(value, str)}
    elif request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM_TYPE:
        fields = _form(await read_body(request))
    else:
        raise GpuKeeperError(
            f"The key must be sent as {_FORM_TYPE} or as JSON.", code="unsupported_media_type"
        )
    if not fields.get("key"):
        raise InvalidOrder(faults=[Fault("key", "is required")])
    return fields


def _form(raw: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(raw.decode(), errors="strict", max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise InvalidOrder(faults=[Fault("body", "is not a form with a key")]) from error


def _local(place: str, root_path: str) -> str:
    """Return a path of this service below its root, whatever a link to the login page says."""
    # What is left of it is judged: the root path must not hide what another host would be.
    place = path_below(root_path, place) or place
    # Browsers take a backslash for a slash, two slashes for another host, and drop line ends.
    is_path = place.startswith("/") and not place.startswith("//") and "\\" not in place
    # What climbs would leave the root path for what else this host serves.
    climbs = not {".", ".."}.isdisjoint(unquote(place.partition("?")[0]).split("/"))
    is_elsewhere = not is_path or climbs or not place.isprintable() or place.startswith(LOGIN_PATH)
    return _HOME if is_elsewhere else place


def _login_page(frame: Frame, action: str, place: str, error: GpuKeeperError | None) -> Response:
    parts = [
        f"<form method='post' action='{action}' class='login'>",
        f"<input type='hidden' name='next' value='{escape(place)}'>",
        f"<p role='alert' class='note bad'>{escape(_sentence(error))}</p>" if error else "",
        "<p><label for='key'>API key</label>",
        "<input id='key' name='key' type='password' autocomplete='current-password' required "
        "autofocus aria-describedby='hint'></p>",
        "<p id='hint'>One of the keys in <code>GPUKEEPER_API_KEYS</code>.</p>",
        "<p><button class='primary'>Sign in</button></p></form>",
    ]
    document = frame(LOGIN_PATH, "Sign in to gpukeeper", "".join(parts))
    if error is None:
        return HTMLResponse(document)
    _, kind = kind_of(error)
    return HTMLResponse(document, kind.status, headers=headers_of(error))


def _sentence(error: GpuKeeperError) -> str:
    return error.message if isinstance(error, TooManyWrongKeys) else "This is not one of the keys."
