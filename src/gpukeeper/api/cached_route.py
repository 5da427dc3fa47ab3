"""The routes that are asked far more often than others, mostly with the same query again.

Checking a query takes the framework longer than all else about such a request takes, so it is done
once for each.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Longer ones are nobody's habit, and neither are more.
_MAX_QUERY_BYTES = 200
_MAX_QUERIES = 100


class CachedRoute(APIRoute):
    """A route whose endpoint takes the request, what its path names (as text), and its query.

    Nothing else of the request may be checked before: neither headers nor a body.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Awaitable[Response]], **options: Any
    ) -> None:
        self._answer = endpoint
        self._checked: dict[bytes, BaseModel] = {}

        @wraps(endpoint)
        async def with_checked_query(request: Request, query: BaseModel, **named: str) -> Response:
            self._remember(request.scope["query_string"], query)
            return await endpoint(request, *named.values(), query)

        super().__init__(path, with_checked_query, **options)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of this path."""
        query = self._checked.get(scope["query_string"])
        if query is None or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await self._answer(request, *scope["path_params"].values(), query)
        await response(scope, receive, send)

    def _remember(self, text: bytes, query: BaseModel) -> None:
        if len(text) > _MAX_QUERY_BYTES:
            return
        if len(self._checked) >= _MAX_QUERIES:
            del self._checked[next(iter(self._checked))]
        self._checked[text] = query
