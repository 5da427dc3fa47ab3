"""Serve under a path: what a proxy passes on is understood with it and without it."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STATE = "root_path"


class RootPath:
    """ASGI middleware around all others: they know the service's own paths only.

    A proxy may take the root path off or leave it on.  Redirects and ``Location`` get it back, and
    whatever else writes a link asks :func:`root_of`.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by its path below the root."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})[_STATE] = self._root_path

        async def send_from_root(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                place = headers.get("location", "")
                # Two slashes begin the name of another host, which is no path of ours.
                if place.startswith("/") and not place.startswith("//"):
                    headers["location"] = self._root_path + place
            await send(message)

        path = path_below(self._root_path, scope["path"])
        inner = scope if path is None else {**scope, "path": path}
        await self._app(inner, receive, send_from_root)


def root_of(scope: Scope) -> str:
    """Return the path under which the service is seen; empty, or with a slash at its beginning."""
    root: str = scope.get("state", {}).get(_STATE, "")
    return root


def path_below(root_path: str, place: str) -> str | None:
    """Return a path (a query may follow) as it is below the root, or None where it is not."""
    if not place.startswith(root_path):
        return None
    rest = place[len(root_path) :]
    if rest[:1] == "/":
        return rest
    return f"/{rest}" if rest[:1] in {"", "?", "#"} else None
