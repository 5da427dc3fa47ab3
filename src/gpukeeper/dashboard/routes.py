"""Put the dashboard's pages on the application."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.dashboard import deliveries, fleet, health, instances, orders, orphans, trends
from gpukeeper.dashboard.assets import STATIC_PREFIX, serve_asset
from gpukeeper.dashboard.error_pages import error_page, install_error_pages
from gpukeeper.dashboard.site import Site, site_of
from gpukeeper.domain.errors import GpuKeeperError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Page(APIRoute):
    """A route whose errors become pages."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_with_error_page(request: Request) -> Response:
            try:
                return await handle(request)
            except GpuKeeperError as error:
                if site_of(request).explain(error).status == 500:
                    # The last handler logs it with its traceback.
                    raise
                return error_page(request, error)

        return handle_with_error_page


def install(app: FastAPI, site: Site) -> None:
    """Let the application serve the dashboard as well."""
    app.state.site = site
    router = APIRouter(route_class=_Page, include_in_schema=False)
    for method, path, handle in (
        ("GET", "/", fleet.show_fleet),
        ("GET", "/order", orders.show_form),
        ("POST", "/order", orders.place_order),
        ("GET", "/instances/{instance_id}", instances.show_instance),
        ("GET", "/instances/{instance_id}/connection", instances.show_connection),
        ("GET", "/instances/{instance_id}/{verb}", instances.confirm),
        ("POST", "/instances/{instance_id}/{verb}", instances.carry_out),
        ("GET", "/deliveries", deliveries.show_deliveries),
        ("POST", "/deliveries/test", deliveries.send_test),
        ("GET", "/deliveries/{delivery_id}", deliveries.show_delivery),
        ("POST", "/deliveries/{delivery_id}/redeliver", deliveries.redeliver),
        ("GET", "/orphans", orphans.show_orphans),
        ("GET", "/orphans/{novita_id}/{verb}", orphans.confirm),
        ("POST", "/orphans/{novita_id}/{verb}", orphans.carry_out),
        ("GET", "/trends", trends.show_trends),
        ("GET", "/status", health.show_health),
        ("GET", STATIC_PREFIX + "{name}", _show_asset),
    ):
        router.add_api_route(path, handle, methods=[method], response_model=None)
    app.include_router(router)
    install_error_pages(app)


async def _show_asset(name: str) -> Response:
    return serve_asset(name)
