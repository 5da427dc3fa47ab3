"""Make pages of templates: everything that is put into one is escaped."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gpukeeper.dashboard import wording
from gpukeeper.dashboard.assets import asset_url
from gpukeeper.dashboard.site import Site, site_of
from gpukeeper.domain.errors import GpuKeeperError, InvalidOrder


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gpukeeper.dashboard"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= wording.FILTERS
    environment.globals |= {"asset_url": asset_url, **wording.GLOBALS}
    return environment


_TEMPLATES = _environment()


def render(site: Site, template: str, path: str, facts: Mapping[str, Any]) -> str:
    """Return a page as text; ``path`` is where it is found, for the navigation."""
    return _TEMPLATES.get_template(template).render(
        site=site, path=path, now=site.overview.now(), **facts
    )


def page(request: Request, template: str, *, http_status: int = 200, **facts: Any) -> HTMLResponse:
    """Render a page and return it as an answer."""
    text = render(site_of(request), template, request.url.path, facts)
    return HTMLResponse(text, http_status)


def error_page(request: Request, error: GpuKeeperError) -> HTMLResponse:
    """Return the page that tells of an error in the words of the API."""
    kind = site_of(request).explain(error)
    # For the line that the log has about each request.
    request.scope["state"]["problem"] = {"code": error.error_code, "detail": error.message}
    faults = error.faults if isinstance(error, InvalidOrder) else ()
    return page(
        request, "error.html", http_status=kind.status, kind=kind, error=error, faults=faults
    )
