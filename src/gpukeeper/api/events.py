"""The route of the live events, as server-sent events (WHATWG HTML §9.2)."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.api.context import context_of, no_repeats, service_of
from gpukeeper.api.openapi_responses import Responses, document_problems
from gpukeeper.api.params.queries import EventsQuery
from gpukeeper.api.server_sent_events import MEDIA_TYPE, EventFilter, EventStream

router = APIRouter(tags=["events"])

_STREAM: Responses = {
    200: {
        "description": "Events without end. Each has `id` (opaque, for `Last-Event-ID`), `event` "
        "(its type) and `data` (JSON as in an instance's history). Lines that begin with a colon "
        "are heartbeats.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/api/events",
    operation_id="followEvents",
    summary="Follow events as they come",
    response_class=Response,
    dependencies=[no_repeats("instanceId", "type")],
    responses=_STREAM | document_problems("instance_not_found"),
)
async def follow_events(
    request: Request,
    query: Annotated[EventsQuery, Query()],
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The `id` of the last event that was seen: begin with the next one.",
        ),
    ] = None,
) -> Response:
    """Tell of every event once and in order, beginning with the next one.

    With `Last-Event-ID` (or `lastEventId`, which the header outdoes) the stream goes on after that
    event, without gap or repeat. The service ends a stream when it stops, and when a client does
    not read for half a minute: connect again with the last `id`.
    """
    context = context_of(request)
    service = service_of(request)
    instances = [(await service.instance(each)).instance.id for each in query.instance_id]
    return EventStream(
        service.feed,
        position=await service.feed.position(last_event_id or query.last_event_id),
        wanted=EventFilter(frozenset(instances), frozenset(query.type)),
        pace=context.stream_pace,
        is_head=request.state.is_head,
    )
