"""Put the HTTP API together."""

import secrets
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from gpukeeper.api import deliveries, events, health, instances, offers, orphans
from gpukeeper.api.context import Context
from gpukeeper.api.openapi import build_openapi
from gpukeeper.api.params.validation_messages import faults_of
from gpukeeper.api.server_sent_events import Pace
from gpukeeper.domain.errors import GpuKeeperError, InvalidOrder
from gpukeeper.service import Service
from gpukeeper.telemetry import Metrics
from gpukeeper.web.auth import Auth
from gpukeeper.web.keys import Keys
from gpukeeper.web.login import LOGIN_PATH, LOGOUT_PATH, login_routes
from gpukeeper.web.middleware import HEALTH_PATHS, RequestMiddleware
from gpukeeper.web.pages import Frame, api_page, plain_frame, problems_page
from gpukeeper.web.problems import KINDS, kind_of, problem
from gpukeeper.web.server.proxies import Proxies
from gpukeeper.web.server.root_path import RootPath
from gpukeeper.web.sessions import Sessions

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# What needs no key.
_OPEN_PATHS = HEALTH_PATHS | {LOGIN_PATH, LOGOUT_PATH}

# The codes of what the framework refuses by itself.
_CODE_OF_STATUS = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def create_app(
    *,
    service: Service,
    check_webhook_url: Callable[[str], str],
    api_keys: Collection[SecretStr],
    secret_key: SecretStr,
    default_region: str,
    default_startup_timeout: timedelta,
    metrics: Metrics,
    version: str,
    is_public: Callable[[str], bool] = lambda path: False,
    frame: Frame = plain_frame,
    new_request_id: Callable[[], str] = lambda: f"req_{secrets.token_hex(8)}",
    timer: Callable[[], float] = time.perf_counter,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    stream_pace: Pace = Pace(),  # noqa: B008 - a value that nobody changes
    proxies: Proxies = Proxies(),  # noqa: B008 - a value that nobody changes
    root_path: str = "",
) -> FastAPI:
    """Return the API as an ASGI application; more routers may be included before it serves.

    ``check_webhook_url`` vets a caller's URL: it returns the URL in its normal form or raises
    ForbiddenAddress.  Without ``api_keys`` only this machine is served.  ``secret_key`` (32
    bytes in URL-safe base64) signs the dashboard's cookie.  ``is_public`` says which further
    paths need neither a key nor the cookie, and ``frame`` makes documents of the content of pages.
    ``timer`` returns seconds that never go backwards,
    ``stream_pace`` is that of the live events, ``proxies`` are believed on whom they speak for.
    ``root_path`` is the path under which a proxy serves all this: empty, or with a slash at its
    beginning and none at its end.
    """
    app = FastAPI(
        title="gpukeeper",
        version=version,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.context = Context(
        service=service,
        check_webhook_url=check_webhook_url,
        default_region=default_region,
        default_startup_timeout=default_startup_timeout,
        metrics=metrics,
        stream_pace=stream_pace,
    )
    keys = Keys(api_keys, clock=clock, proxies=proxies)
    sessions = Sessions(secret_key=secret_key, digests=keys.digests, clock=clock)
    for routes in (instances, events, offers, deliveries, orphans, health):
        # As an included router, it would look for the route of each request twice.
        app.router.routes.extend(routes.router.routes)
    app.include_router(login_routes(keys, sessions, frame, root_path=root_path))
    _add_pages(app, frame, root_path)
    app.add_exception_handler(GpuKeeperError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_refusal)
    # The last one added is the outermost.
    app.add_middleware(
        Auth,
        keys=keys,
        sessions=sessions,
        is_public=lambda path: path in _OPEN_PATHS or is_public(path),
    )
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        new_request_id=new_request_id,
        timer=timer,
    )
    if root_path:
        app.add_middleware(RootPath, root_path=root_path)
    return app


def _add_pages(app: FastAPI, frame: Frame, root_path: str) -> None:
    documents: list[dict[str, Any]] = []

    def document() -> dict[str, Any]:
        if not documents:
            documents.append(build_openapi(app, root_path=root_path))
        return documents[0]

    async def show_document() -> Response:
        return JSONResponse(document())

    async def show_api() -> Response:
        return api_page(document(), frame, root_path=root_path)

    async def show_problems() -> Response:
        return problems_page(frame)

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents
    app.add_api_route("/openapi.json", show_document, include_in_schema=False)
    app.add_api_route("/docs", show_api, include_in_schema=False)
    app.add_api_route("/problems", show_problems, include_in_schema=False)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GpuKeeperError)
    _, kind = kind_of(error)
    if kind.status == 500:
        # The last handler logs it with its traceback.
        raise error
    return problem(request.scope, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Each location begins with "query", "path" or the like.
    return problem(request.scope, InvalidOrder(faults=faults_of(error.errors(), skip=1)))


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "invalid_request")
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else None
    refusal = GpuKeeperError(KINDS[code].meaning, code=code)
    return problem(request.scope, refusal, headers=headers)


def _allowed(request: Request) -> str:
    """Return the methods of every route with this path; the framework names the first's only."""
    routes = request.app.routes

    def is_served(method: str) -> bool:
        scope: Scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    served = set(filter(is_served, _METHODS))
    if "GET" in served:
        # Whatever answers GET answers HEAD (:class:`gpukeeper.web.middleware.RequestMiddleware`).
        served.add("HEAD")
    return ", ".join(method for method in _METHODS if method in served)
