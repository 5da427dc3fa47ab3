"""What happens to every request: its id, log line, metrics and span, and the last handler."""

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidOrder
from gpukeeper.telemetry import Metrics, get_logger, log_context, tracing
from gpukeeper.web.problems import problem

_log = get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# Other methods are counted together: a caller could invent any number of them.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# What routes that match nothing are counted as.
_NO_ROUTE = "none"

# What nginx has made the customary status of callers that hung up before the answer.
_CALLER_GONE = 499

# Asked every few seconds by machines: a line for each would hide all others.
# Supervisors and load balancers ask them without a key.
HEALTH_PATHS = frozenset({"/health", "/health/live", "/health/ready"})
_QUIET_ROUTES = HEALTH_PATHS | {"/metrics"}

# Where a route does not say otherwise.
SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer", browsers would say "Origin: null" of our own pages' forms, too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


# A page may use what the service itself serves; anything else has nothing to load at all.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

# More than any route has parameters, those included that may be repeated.
_MAX_PARAMETERS = 200

_RawHeaders = list[tuple[bytes, bytes]]


def _raw(policy: str) -> _RawHeaders:
    headers = {**SAFE_HEADERS, "Content-Security-Policy": policy}
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


_PAGE_HEADERS = _raw(_PAGE_POLICY)
_DATA_HEADERS = _raw(_DATA_POLICY)


class RequestMiddleware:
    """ASGI middleware around all others; ``timer`` returns seconds that never go backwards."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        new_request_id: Callable[[], str],
        timer: Callable[[], float],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._new_request_id = new_request_id
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        given = asked.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else self._new_request_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started_at = self._timer()
        status = _CALLER_GONE

        # Whatever answers GET answers HEAD (RFC 9110 §9.3.2), without the body.
        is_head = state["is_head"] = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if is_head else scope

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = _completed(message.get("headers", ()), request_id)
                message = {**message, "headers": headers}
            await send(message)

        # Asked as often as they are, they would fill a collector with nothing.
        is_quiet = scope["path"] in _QUIET_ROUTES
        with (
            log_context(request_id=request_id),
            tracing.NO_SPAN if is_quiet else _start_span(scope["method"], asked) as span,
        ):
            try:
                app = _refusal(scope, asked) or self._app
                await app(inner, receive, send_with_headers)
            except ClientDisconnect:
                status = _CALLER_GONE
            except Exception:  # noqa: BLE001 - the last handler: nothing else would answer
                self._metrics.unhandled_errors.labels("api").inc()
                _log.exception("unhandled_error", method=scope["method"], path=scope["path"])
                if status == _CALLER_GONE:
                    await problem(scope, GpuKeeperError())(scope, receive, send_with_headers)
            finally:
                self._record(inner, scope["method"], status, self._timer() - started_at)
                if span.is_recording():
                    _describe(span, inner, scope["method"], status)

    def _record(self, scope: Scope, asked: str, status: int, seconds: float) -> None:
        method = asked if asked in _METHODS else "other"
        route = _route(scope)
        self._metrics.http_requests.labels(method, route, str(status)).inc()
        self._metrics.http_request_duration.labels(method, route).observe(seconds)
        log = _log.warning if status >= 500 else _log.info
        if route in _QUIET_ROUTES and status < 400:
            log = _log.debug
        log(
            "request",
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1000, 1),
            **scope["state"].get("problem", {}),
        )


def _refusal(scope: Scope, asked: Headers) -> ASGIApp | None:
    """Return the answer to a request that no route would read as it was meant."""
    # How the service is, is told whatever the query says.
    is_read = scope["path"] not in HEALTH_PATHS
    if is_read and scope["query_string"].count(b"&") >= _MAX_PARAMETERS:
        fault = Fault("query", f"must have at most {_MAX_PARAMETERS} parameters")
        return problem(scope, InvalidOrder(faults=[fault]))
    has_body = asked.get("content-length", "0") != "0" or "transfer-encoding" in asked
    encoding = asked.get("content-encoding", "").strip().lower()
    transfer = asked.get("transfer-encoding", "").strip().lower()
    # The server takes the chunks apart, and nothing that stands before them.
    if has_body and (encoding not in {"", "identity"} or transfer not in {"", "chunked"}):
        error = GpuKeeperError(
            "The body must be sent as it is, without Content-Encoding, and chunked at most.",
            code="unsupported_media_type",
        )
        # RFC 9110 §12.5.3: what would be taken.
        return problem(scope, error, headers={"Accept-Encoding": "identity"})
    return None


def _start_span(method: str, asked: Headers) -> AbstractContextManager[tracing.Span]:
    places = asked.getlist("traceparent")
    parent = places[0] if len(places) == 1 else None
    return tracing.start_span(method, kind=tracing.SpanKind.SERVER, parent=parent)


def _describe(span: tracing.Span, scope: Scope, asked: str, status: int) -> None:
    """Say of a request what its log line says; its path and headers may hold what is secret."""
    method = asked if asked in _METHODS else "_OTHER"
    route = _route(scope)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.response.status_code": status,
        "url.scheme": scope["scheme"],
        "gpukeeper.request.id": scope["state"]["request_id"],
    }
    name = "HTTP" if method == "_OTHER" else method
    if route != _NO_ROUTE:
        attributes["http.route"] = route
        name = f"{name} {route}"
    if status >= 500:
        attributes["error.type"] = str(status)
    tracing.describe(span, attributes, name=name)


def _completed(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> _RawHeaders:
    """Return an answer's headers with the request's id, and whatever the route does not say."""
    own = dict(headers)
    is_page = own.get(b"content-type", b"").startswith(b"text/html")
    safe = _PAGE_HEADERS if is_page else _DATA_HEADERS
    return [
        *headers,
        (b"x-request-id", request_id.encode()),
        *(header for header in safe if header[0] not in own),
    ]


def _route(scope: Scope) -> str:
    """Return the template of the route, so that ids make no metrics of their own."""
    path: str = getattr(scope.get("route"), "path_format", _NO_ROUTE)
    return path
