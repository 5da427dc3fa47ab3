"""Put the simulator together: Novita's routes and the admin API over one world."""

from collections.abc import Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from gpukeeper.simulator.admin import admin_routes
from gpukeeper.simulator.admin.admin_route import PREFIX
from gpukeeper.simulator.json_codec import BadInput
from gpukeeper.simulator.novita_api import novita_routes
from gpukeeper.simulator.novita_api.request_journal import RequestRecord
from gpukeeper.simulator.simulated_clock import utc_now
from gpukeeper.simulator.simulated_world import World
from gpukeeper.simulator.simulator_settings import Settings


def build_app(
    settings: Settings | None = None, *, wall: Callable[[], datetime] = utc_now
) -> Starlette:
    """Return the simulator as an ASGI application; its world is ``app.state.world``.

    ``wall`` is the clock that the simulated time follows.
    """
    world = World(settings, wall=wall)

    def unknown_path(request: Request, error: Exception) -> Response:
        """Respond to a path without a route: as the settings say, and in JSON to the admin."""
        assert isinstance(error, HTTPException)
        if not request.url.path.startswith(PREFIX):
            with world.lock:
                stray = RequestRecord(
                    at=world.now(),
                    route="unknown",
                    method=request.method,
                    path=request.url.path,
                    query=dict(request.query_params),
                    status=error.status_code,
                )
                world.journal.write(stray)
        return _not_served(request, error, world.settings.unknown_path)

    app = Starlette(
        routes=[*novita_routes.build_routes(world), *admin_routes.build_routes(world)],
        exception_handlers={HTTPException: unknown_path, BadInput: _bad_input},
    )
    app.state.world = world
    return app


def _not_served(request: Request, error: HTTPException, style: str) -> Response:
    if request.url.path.startswith(PREFIX):
        return JSONResponse({"errors": [error.detail]}, error.status_code)
    if style == "html":
        page = f"<html><body><h1>{error.status_code} {error.detail}</h1></body></html>"
        return HTMLResponse(page, error.status_code)
    if style == "text":
        return PlainTextResponse("404 page not found", error.status_code)
    body = {"code": error.status_code, "reason": "", "message": error.detail, "metadata": {}}
    return JSONResponse(body, error.status_code)


def _bad_input(_: Request, error: Exception) -> Response:
    assert isinstance(error, BadInput)
    return JSONResponse({"errors": list(error.faults)}, 400)
