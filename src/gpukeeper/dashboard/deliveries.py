"""The pages of the webhook log."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpukeeper.contract.events import describe_webhook
from gpukeeper.dashboard.forms import read_form
from gpukeeper.dashboard.site import check_id, site_of
from gpukeeper.dashboard.template_engine import page
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.errors import GpuKeeperError

_ROWS = 100


async def show_deliveries(request: Request) -> Response:
    """Show a page of the log, newest first."""
    site = site_of(request)
    query = request.query_params
    word = query.get("status", "")
    try:
        status = DeliveryStatus(word) if word else None
    except ValueError as error:
        raise GpuKeeperError("There is no such filter.", code="not_found") from error
    deliveries, following = await site.service.deliveries(
        status=status, instance_id=None, limit=_ROWS, cursor=query.get("cursor") or None
    )
    kept = {"status": word, "cursor": following or ""}
    return page(
        request,
        "deliveries.html",
        deliveries=deliveries,
        status=word,
        statuses=list(DeliveryStatus),
        has_receivers=bool(site.service.outbox.operator_urls),
        has_older=following is not None,
        older=f"/deliveries?{urlencode({key: text for key, text in kept.items() if text})}",
    )


async def show_delivery(request: Request, delivery_id: str) -> Response:
    """Show a delivery with every attempt and what is sent."""
    view = await site_of(request).service.delivery(check_id(delivery_id))
    return page(
        request,
        "delivery.html",
        delivery=view.delivery,
        attempts=view.attempts,
        body=describe_webhook(view.delivery.event),
    )


async def redeliver(request: Request, delivery_id: str) -> Response:
    """Make a delivery due again and show it."""
    await read_form(request)
    view = await site_of(request).service.redeliver(check_id(delivery_id))
    return RedirectResponse(f"/deliveries/{view.delivery.id}", 303)


async def send_test(request: Request) -> Response:
    """Send a test event and show the delivery, or the log if there are several."""
    await read_form(request)
    views = await site_of(request).service.send_test()
    path = f"/deliveries/{views[0].delivery.id}" if len(views) == 1 else "/deliveries"
    return RedirectResponse(path, 303)
