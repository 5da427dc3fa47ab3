"""What the routes work with, kept on the application."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.api.server_sent_events import Pace
from gpukeeper.contract.serialization import Body, to_json
from gpukeeper.domain.errors import Fault, InvalidOrder, NotFound
from gpukeeper.service import Service
from gpukeeper.telemetry import Metrics

# No id of ours or of Novita's has a space, a control character or this length.
_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Context:
    """The use cases, and the settings that the routes need."""

    service: Service
    check_webhook_url: Callable[[str], str]
    default_region: str
    default_startup_timeout: timedelta
    metrics: Metrics
    stream_pace: Pace


class NoQuery(BaseModel):
    """A query without parameters."""

    model_config = ConfigDict(extra="forbid")


def context_of(request: Request) -> Context:
    """Return what the application was created with."""
    context: Context = request.app.state.context
    return context


def service_of(request: Request) -> Service:
    """Return the use cases."""
    return context_of(request).service


def check_id(text: str, *, code: str = NotFound.code) -> str:
    """Return an id from a path; raises NotFound for one that nothing can have."""
    if not _ID.fullmatch(text):
        raise NotFound("There is nothing with such an id.", code=code)
    return text


def body_response(body: Body, status: int = 200) -> Response:
    """Return a body as it is sent."""
    return Response(to_json(body), status, media_type="application/json")


async def _refuse_parameters(query: Annotated[NoQuery, Query()]) -> None:
    """Refuse parameters that a route does not have, so that a typo is not silently ignored."""


def no_repeats(*repeatable: str) -> Any:
    """Return what refuses a parameter that is given twice, of which one would be ignored."""

    async def refuse_repeats(request: Request) -> None:
        if not request.scope["query_string"]:
            return
        times = Counter(name for name, _ in request.query_params.multi_items())
        repeated = [name for name in times if times[name] > 1 and name not in repeatable]
        if repeated:
            raise InvalidOrder(faults=[Fault(name, "is given more than once") for name in repeated])

    return Depends(refuse_repeats)


NO_QUERY = Depends(_refuse_parameters)
NO_REPEATS = no_repeats()
