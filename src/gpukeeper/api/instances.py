"""The routes under ``/api/instances``."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpukeeper.api.cached_route import CachedRoute
from gpukeeper.api.context import (
    NO_QUERY,
    body_response,
    check_id,
    context_of,
    no_repeats,
    service_of,
)
from gpukeeper.api.openapi_responses import (
    LOCATION_HEADERS,
    REF,
    STALE_HEADERS,
    document_problems,
    document_success,
)
from gpukeeper.api.params.orders import OrderBody, order_of
from gpukeeper.api.params.queries import InstanceQuery, InstancesQuery
from gpukeeper.api.rendering import instance_json, page_json
from gpukeeper.contract.events import EventList, describe_event
from gpukeeper.contract.instances import (
    Connection,
    Instance,
    InstanceList,
    describe_connection,
)
from gpukeeper.domain.errors import Fault
from gpukeeper.domain.instances import Command
from gpukeeper.service import View
from gpukeeper.web.body import NO_BODY, body_hash, json_body

router = APIRouter(tags=["instances"], dependencies=[no_repeats("status")])

# RFC 7234 §5.5.1.
_STALE_WARNING = '110 gpukeeper "Response is Stale"'

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

_BUYING_REFUSALS = (
    "product_not_found",
    "template_not_found",
    "region_not_found",
    "insufficient_balance",
    "idempotency_key_reused",
    "out_of_stock",
    "price_above_limit",
    "quota_exceeded",
    "body_too_large",
    "unsupported_media_type",
    "store_restored",
)
NOVITA_PROBLEMS = (
    "novita_rejected",
    "novita_credentials",
    "novita_rate_limited",
    "novita_unavailable",
    "novita_timeout",
)

InstanceId = Annotated[
    str, Path(alias="instanceId", description="The instance's id, or Novita's id of its machine.")
]


@router.post(
    "/api/instances",
    operation_id="createInstance",
    summary="Order an instance",
    status_code=201,
    dependencies=[NO_QUERY],
    responses=document_success(
        201, Instance, "Novita has accepted the order.", headers=LOCATION_HEADERS
    )
    | document_success(
        202,
        Instance,
        "The order is stored; Novita's answer takes longer, or was lost and is looked up.",
        headers=LOCATION_HEADERS,
    )
    | document_problems(*_BUYING_REFUSALS, *NOVITA_PROBLEMS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": REF.format(model=OrderBody.__name__)},
                    "example": {
                        "name": "trainer",
                        "productName": "RTX 4090 24GB",
                        "templateId": "tpl-basic",
                    },
                }
            },
        }
    },
)
async def create_instance(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="1 to 255 visible ASCII characters. The same key with the same body gives "
            "the same instance and never a second one, unless the first try ended with "
            "`novita_unavailable`, `novita_rate_limited` or `novita_timeout` and bought nothing.",
            json_schema_extra={"pattern": "^[!-~]{1,255}$"},
        ),
    ] = None,
) -> Response:
    """Buy the cheapest offer that fits, start the machine and watch it until it runs.

    The answer comes when Novita has accepted the order, or after 20 seconds.
    """
    context = context_of(request)
    body = await json_body(request)
    order = order_of(
        body,
        default_region=context.default_region,
        default_startup_timeout=context.default_startup_timeout,
        check_webhook_url=context.check_webhook_url,
        faults=_key_faults(idempotency_key),
    )
    view = await context.service.order(
        order,
        idempotency_key=idempotency_key,
        body_hash="" if idempotency_key is None else body_hash(body),
    )
    return new_instance_response(view, status=201 if view.instance.machine.novita_id else 202)


async def _list_instances(request: Request, query: Annotated[InstancesQuery, Query()]) -> Response:
    """Show instances, newest first."""
    page = await service_of(request).instances(
        statuses=query.status,
        is_current=query.current,
        name=query.name,
        limit=query.limit,
        cursor=query.cursor,
    )
    return _json(page_json(page), is_stale=any(view.is_stale for view in page.views))


router.add_api_route(
    "/api/instances",
    _list_instances,
    operation_id="listInstances",
    summary="List instances",
    responses=document_success(200, InstanceList, "A page of instances.", headers=STALE_HEADERS)
    | document_problems(),
    route_class_override=CachedRoute,
)


async def _get_instance(
    request: Request, instance_id: InstanceId, query: Annotated[InstanceQuery, Query()]
) -> Response:
    """Show what is known of an instance; when Novita cannot be asked, the last known state."""
    view = await service_of(request).instance(check_id(instance_id), refresh=query.refresh)
    return instance_response(view)


router.add_api_route(
    "/api/instances/{instanceId}",
    _get_instance,
    operation_id="getInstance",
    summary="Show an instance",
    responses=document_success(200, Instance, "The instance.", headers=STALE_HEADERS)
    | document_problems("instance_not_found"),
    route_class_override=CachedRoute,
)


@router.get(
    "/api/instances/{instanceId}/events",
    operation_id="listInstanceEvents",
    summary="Show an instance's history",
    dependencies=[NO_QUERY],
    responses=document_success(200, EventList, "The history.")
    | document_problems("instance_not_found"),
)
async def list_events(request: Request, instance_id: InstanceId) -> Response:
    """Show what happened to an instance, oldest first."""
    events = await service_of(request).events(check_id(instance_id))
    return body_response(EventList(tuple(map(describe_event, events))))


@router.get(
    "/api/instances/{instanceId}/connection",
    operation_id="getConnection",
    summary="Show how to reach an instance",
    dependencies=[NO_QUERY],
    responses=document_success(200, Connection, "Endpoints, and the SSH command with its password.")
    | document_problems("instance_not_found", "wrong_status", *NOVITA_PROBLEMS),
)
async def get_connection(request: Request, instance_id: InstanceId) -> Response:
    """Ask Novita for the way to a running machine; no other answer holds its password."""
    found = await service_of(request).connection(check_id(instance_id))
    return body_response(describe_connection(found))


def _verb(verb: Command, method: str, path: str, summary: str, description: str) -> None:
    async def carry_out(request: Request, instance_id: InstanceId) -> Response:
        return instance_response(
            await service_of(request).want(check_id(instance_id), verb), status=202
        )

    router.add_api_route(
        path,
        carry_out,
        methods=[method],
        operation_id=f"{verb.value}Instance",
        summary=summary,
        description=description,
        status_code=202,
        dependencies=[NO_QUERY, NO_BODY],
        responses=document_success(
            202, Instance, "The wish is stored and carried out.", headers=STALE_HEADERS
        )
        | document_problems(
            "instance_not_found", "wrong_status", "body_too_large", "unsupported_media_type"
        ),
    )


_verb(
    Command.START,
    "POST",
    "/api/instances/{instanceId}/start",
    "Start an instance",
    "Start a stopped instance.",
)
_verb(
    Command.STOP,
    "POST",
    "/api/instances/{instanceId}/stop",
    "Stop an instance",
    "Stop an instance; its disk stays and may still cost money.",
)
_verb(
    Command.RESTART,
    "POST",
    "/api/instances/{instanceId}/restart",
    "Restart an instance",
    "Restart a running instance.",
)
_verb(
    Command.DELETE,
    "DELETE",
    "/api/instances/{instanceId}",
    "Delete an instance",
    "Delete an instance; it is `deleted` only when Novita confirms that its machine is gone.",
)


def instance_response(view: View, *, status: int = 200) -> Response:
    """Return an instance as an answer."""
    return _json(instance_json(view), status, is_stale=view.is_stale)


def new_instance_response(view: View, *, status: int) -> Response:
    """Return an instance that is new to the caller, with the place where it is found."""
    response = instance_response(view, status=status)
    response.headers["Location"] = f"/api/instances/{view.instance.id}"
    return response


def _json(body: bytes, status: int = 200, *, is_stale: bool) -> Response:
    headers = {"Warning": _STALE_WARNING} if is_stale else None
    return Response(body, status, headers, media_type=JSONResponse.media_type)


def _key_faults(key: str | None) -> list[Fault]:
    if key is None or _IDEMPOTENCY_KEY.fullmatch(key):
        return []
    return [Fault("Idempotency-Key", "must be 1 to 255 visible ASCII characters")]
