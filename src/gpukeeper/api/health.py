"""The routes that tell how the service is: for supervisors, for people, and for Prometheus."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpukeeper.api.context import body_response, context_of, service_of
from gpukeeper.api.openapi_responses import Responses, document_problem, document_success
from gpukeeper.contract.health import Health, Live, Ready
from gpukeeper.telemetry import EXPOSITION_TYPE, exposition, show_fleet

router = APIRouter(tags=["health"])

_FAULT: Responses = {500: document_problem("internal_error")}

_REFUSED: Responses = {
    401: document_problem("unauthorized"),
    429: document_problem("too_many_wrong_keys"),
}

_METRICS: Responses = {
    200: {
        "description": "Prometheus text.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/health/live",
    operation_id="isLive",
    summary="Is the process up?",
    responses=document_success(200, Live, "It is.") | _FAULT,
)
async def is_live() -> Response:
    """Answer as long as the process can."""
    return body_response(Live())


@router.get(
    "/health/ready",
    operation_id="isReady",
    summary="Can the service serve, and are its loops alive?",
    responses=document_success(200, Ready, "Yes.")
    | document_success(503, Ready, "No; `problems` says what is not.")
    | _FAULT,
)
async def is_ready(request: Request) -> Response:
    """Name what is not alive."""
    health = await service_of(request).health(is_brief=True)
    status = "ready" if health.is_ready else "not ready"
    return body_response(Ready(status, health.problems), 200 if health.is_ready else 503)


@router.get(
    "/health",
    operation_id="getHealth",
    summary="How is the service?",
    responses=document_success(200, Health, "Ready.")
    | document_success(503, Health, "Not ready.")
    | _FAULT,
)
async def get_health(request: Request) -> Response:
    """Sum up both, with Novita's reachability."""
    health = await service_of(request).health()
    status = "ready" if health.is_ready else "not ready"
    body = {**health.body, "status": status, "problems": list(health.problems)}
    return JSONResponse(body, 200 if health.is_ready else 503)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=_METRICS | _REFUSED | {503: document_problem("store_unavailable")} | _FAULT,
)
async def get_metrics(request: Request) -> Response:
    """Show every metric of this process, and what the store counts at this moment."""
    census = await service_of(request).census()
    show_fleet(
        context_of(request).metrics,
        by_status={status.value: count for status, count in census.by_status.items()},
        spend_usd_per_hour=float(census.spend_per_hour),
        orphans=census.orphans,
        vanished=census.vanished,
        deliveries_pending=census.queues.deliveries_pending,
        oldest_due_seconds=census.queues.oldest_due_seconds,
    )
    return Response(exposition(context_of(request).metrics), media_type=EXPOSITION_TYPE)
