"""The page that tells how the service is."""

from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.dashboard.site import site_of
from gpukeeper.dashboard.template_engine import page


async def show_health(request: Request) -> Response:
    """Show loops, Novita and the queue."""
    site = site_of(request)
    return page(request, "health.html", health=await site.service.health())
