"""The routes of the webhook log."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpukeeper.api import schemas
from gpukeeper.api.context import NO_QUERY, NO_REPEATS, check_id, service_of
from gpukeeper.api.openapi_responses import document_problems, document_success
from gpukeeper.api.params.queries import DeliveriesQuery
from gpukeeper.domain.events import DeliveryAttempt, format_time
from gpukeeper.service import DeliveryView
from gpukeeper.web.body import NO_BODY

router = APIRouter(tags=["webhooks"], dependencies=[NO_REPEATS])

_NOT_FOUND = "delivery_not_found"

DeliveryId = Annotated[str, Path(alias="id", description="The delivery's id.")]


@router.get(
    "/api/deliveries",
    operation_id="listDeliveries",
    summary="List webhook deliveries",
    responses=document_success(200, schemas.DeliveryList, "A page of deliveries.")
    | document_problems(),
)
async def list_deliveries(request: Request, query: Annotated[DeliveriesQuery, Query()]) -> Response:
    """Show deliveries without their attempts, newest first."""
    views, next_cursor = await service_of(request).deliveries(
        status=query.status,
        instance_id=query.instance_id,
        limit=query.limit,
        cursor=query.cursor,
    )
    return JSONResponse({"deliveries": list(map(_body, views)), "nextCursor": next_cursor})


@router.get(
    "/api/deliveries/{id}",
    operation_id="getDelivery",
    summary="Show a delivery",
    dependencies=[NO_QUERY],
    responses=document_success(200, schemas.Delivery, "The delivery.")
    | document_problems(_NOT_FOUND),
)
async def get_delivery(request: Request, delivery_id: DeliveryId) -> Response:
    """Show a delivery with every attempt and the beginning of the receiver's answers."""
    view = await service_of(request).delivery(check_id(delivery_id, code=_NOT_FOUND))
    return JSONResponse(_body(view))


@router.post(
    "/api/deliveries/{id}/redeliver",
    operation_id="redeliver",
    summary="Deliver again",
    status_code=202,
    dependencies=[NO_QUERY, NO_BODY],
    responses=document_success(202, schemas.Delivery, "The delivery is due again.")
    | document_problems(_NOT_FOUND, "body_too_large", "unsupported_media_type"),
)
async def redeliver(request: Request, delivery_id: DeliveryId) -> Response:
    """Send a delivery again, with its retries renewed."""
    view = await service_of(request).redeliver(check_id(delivery_id, code=_NOT_FOUND))
    return JSONResponse(_body(view), 202)


@router.post(
    "/api/webhooks/test",
    operation_id="sendTestWebhook",
    summary="Send a test event",
    status_code=202,
    dependencies=[NO_QUERY, NO_BODY],
    responses=document_success(202, schemas.TestDeliveries, "The test is on its way.")
    | document_problems("body_too_large", "unsupported_media_type"),
)
async def send_test(request: Request) -> Response:
    """Send a `webhook.test` event to every URL of GPUKEEPER_WEBHOOK_URL."""
    views = await service_of(request).send_test()
    return JSONResponse({"deliveries": list(map(_body, views))}, 202)


def _body(view: DeliveryView) -> dict[str, Any]:
    delivery = view.delivery
    return {
        "id": delivery.id,
        "eventId": delivery.event.id,
        "eventType": delivery.event.type.value,
        "instanceId": delivery.event.instance_id,
        "url": delivery.url,
        "status": delivery.status.value,
        "attemptCount": delivery.attempts,
        "attempts": list(map(_attempt_body, view.attempts)),
        "createdAt": format_time(delivery.created_at),
        "nextAttemptAt": format_time(delivery.due_at),
        "finishedAt": format_time(delivery.finished_at),
    }


def _attempt_body(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "at": format_time(attempt.at),
        "durationMs": round(attempt.duration.total_seconds() * 1000),
        "responseStatus": attempt.response_status,
        "error": attempt.error,
        "answer": attempt.answer,
    }
