"""Let in only those who may: with a key, signed in at the dashboard, or from this machine."""

from collections.abc import Callable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gpukeeper.domain.errors import GpuKeeperError, Unauthorized
from gpukeeper.web.keys import Keys, bearer_key
from gpukeeper.web.login import LOGIN_PATH
from gpukeeper.web.origins import SAFE_METHODS, check_loopback, check_same_origin
from gpukeeper.web.problems import problem
from gpukeeper.web.server.admission import admit
from gpukeeper.web.server.root_path import path_below, root_of
from gpukeeper.web.sessions import Sessions


class Auth:
    """ASGI middleware that answers 401 to everyone else, and shows browsers where to sign in.

    ``is_public`` judges the path of what needs no key.  Without any key, only this machine is
    served.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        sessions: Sessions,
        is_public: Callable[[str], bool],
    ) -> None:
        self._app = app
        self._keys = keys
        self._sessions = sessions
        self._is_public = is_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan" or self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except GpuKeeperError as error:
            if self._keys and self._is_sent_to_sign_in(scope):
                await RedirectResponse(_login_url(scope), 303)(scope, receive, send)
            else:
                await problem(scope, error)(scope, receive, send)
            return
        admit(scope)
        await self._app(scope, receive, send)

    def _is_sent_to_sign_in(self, scope: Scope) -> bool:
        """Whether a person looks at the answer, and not a program, and has no session."""
        headers = Headers(scope=scope)
        return (
            scope["method"] in {"GET", "POST"}
            and "text/html" in headers.get("accept", "")
            and "authorization" not in headers
            and not scope["path"].startswith("/api/")
            and not self._sessions.is_signed_in(headers)
        )

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._keys:
            check_loopback(headers, scope["method"])
            return
        key = bearer_key(headers)
        if key is not None:
            self._keys.recognise(key, scope)
        elif not self._sessions.is_signed_in(headers):
            raise Unauthorized
        elif scope["method"] not in SAFE_METHODS:
            check_same_origin(headers)


def _login_url(scope: Scope) -> str:
    return f"{LOGIN_PATH}?next={quote(root_of(scope) + _page_of(scope), safe='/')}"


def _page_of(scope: Scope) -> str:
    """Return the page that a person is on: what was asked for, or where the form stands."""
    if scope["method"] in SAFE_METHODS:
        query = scope["query_string"].decode("latin-1")
        return quote(scope["path"]) + (f"?{query}" if query else "")
    headers = Headers(scope=scope)
    # Where a form is sent to need not be a page. The login page vets where it leads to.
    try:
        form = urlsplit(headers.get("referer", ""))
    except ValueError:
        return "/"
    page = path_below(root_of(scope), form.path)
    if page is None or form.netloc != headers.get("host", ""):
        return "/"
    return page + (f"?{form.query}" if form.query else "")
