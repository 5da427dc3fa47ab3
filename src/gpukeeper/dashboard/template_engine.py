"""Make pages of templates: everything that is put into one is escaped."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gpukeeper.dashboard import filters
from gpukeeper.dashboard.assets import asset_url
from gpukeeper.dashboard.site import Site, site_of


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gpukeeper.dashboard"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= filters.FILTERS
    environment.globals |= {"asset_url": asset_url, **filters.GLOBALS}
    return environment


_TEMPLATES = _environment()


def render(site: Site, template: str, path: str, facts: Mapping[str, Any]) -> str:
    """Return a page as text; ``path`` is where it is found, for the navigation."""
    return _TEMPLATES.get_template(template).render(
        path=path,
        root=site.root_path,
        version=site.version,
        can_log_out=site.can_log_out,
        now=site.overview.now(),
        **facts,
    )


def frame(
    path: str, title: str, content: str, *, version: str, can_log_out: bool, root_path: str = ""
) -> str:
    """Return a page of the API as one of the dashboard; its content is HTML and is trusted."""
    return _TEMPLATES.get_template("document.html").render(
        path=path,
        root=root_path,
        version=version,
        can_log_out=can_log_out,
        title=title,
        content=Markup(content),  # noqa: S704 - made by the API, which escapes what it puts in
    )


def page(request: Request, template: str, *, http_status: int = 200, **facts: Any) -> HTMLResponse:
    """Render a page and return it as an answer."""
    text = render(site_of(request), template, request.url.path, facts)
    return HTMLResponse(text, http_status)
