"""The routes of the webhook log."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.api.context import NO_QUERY, NO_REPEATS, body_response, check_id, service_of
from gpukeeper.api.openapi_responses import document_problems, document_success
from gpukeeper.api.params.queries import DeliveriesQuery
from gpukeeper.contract.deliveries import (
    Delivery,
    DeliveryList,
    TestDeliveries,
    describe_delivery,
)
from gpukeeper.web.body import NO_BODY

router = APIRouter(tags=["webhooks"], dependencies=[NO_REPEATS])

_NOT_FOUND = "delivery_not_found"

DeliveryId = Annotated[str, Path(alias="id", description="The delivery's id.")]


@router.get(
    "/api/deliveries",
    operation_id="listDeliveries",
    summary="List webhook deliveries",
    responses=document_success(200, DeliveryList, "A page of deliveries.") | document_problems(),
)
async def list_deliveries(request: Request, query: Annotated[DeliveriesQuery, Query()]) -> Response:
    """Show deliveries without their attempts, newest first."""
    views, next_cursor = await service_of(request).deliveries(
        status=query.status,
        instance_id=query.instance_id,
        limit=query.limit,
        cursor=query.cursor,
    )
    shown = tuple(describe_delivery(view.delivery) for view in views)
    return body_response(DeliveryList(shown, next_cursor))


@router.get(
    "/api/deliveries/{id}",
    operation_id="getDelivery",
    summary="Show a delivery",
    dependencies=[NO_QUERY],
    responses=document_success(200, Delivery, "The delivery.") | document_problems(_NOT_FOUND),
)
async def get_delivery(request: Request, delivery_id: DeliveryId) -> Response:
    """Show a delivery with every attempt and the beginning of the receiver's answers."""
    view = await service_of(request).delivery(check_id(delivery_id, code=_NOT_FOUND))
    return body_response(describe_delivery(view.delivery, view.attempts))


@router.post(
    "/api/deliveries/{id}/redeliver",
    operation_id="redeliver",
    summary="Deliver again",
    status_code=202,
    dependencies=[NO_QUERY, NO_BODY],
    responses=document_success(202, Delivery, "The delivery is due again.")
    | document_problems(_NOT_FOUND, "body_too_large", "unsupported_media_type"),
)
async def redeliver(request: Request, delivery_id: DeliveryId) -> Response:
    """Send a delivery again, with its retries renewed."""
    view = await service_of(request).redeliver(check_id(delivery_id, code=_NOT_FOUND))
    return body_response(describe_delivery(view.delivery, view.attempts), 202)


@router.post(
    "/api/webhooks/test",
    operation_id="sendTestWebhook",
    summary="Send a test event",
    status_code=202,
    dependencies=[NO_QUERY, NO_BODY],
    responses=document_success(202, TestDeliveries, "The test is on its way.")
    | document_problems("body_too_large", "unsupported_media_type"),
)
async def send_test(request: Request) -> Response:
    """Send a `webhook.test` event to every URL of GPUKEEPER_WEBHOOK_URL."""
    views = await service_of(request).send_test()
    shown = tuple(describe_delivery(view.delivery, view.attempts) for view in views)
    return body_response(TestDeliveries(shown), 202)
