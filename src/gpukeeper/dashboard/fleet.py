"""The first page: every instance, what it costs, and what it has cost."""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from gpukeeper.dashboard.charts import draw_area
from gpukeeper.dashboard.site import Site, site_of
from gpukeeper.dashboard.template_engine import render
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Status
from gpukeeper.service.fleet import Trends
from gpukeeper.service.health import Census
from gpukeeper.service.instances import CURRENT


@dataclass(frozen=True, slots=True)
class _View:
    """What a tab over the list shows: statuses, none for all, and refused orders.

    An order that was refused costs nothing and needs nobody's attention, although its status is
    that of a machine which failed: ``has_refused`` and ``has_notified`` are as in
    :meth:`Overview.fleet`.
    """

    statuses: frozenset[Status]
    has_refused: bool | None = None
    has_notified: bool = False


VIEWS = {
    "current": _View(CURRENT, has_refused=False),
    "running": _View(frozenset({Status.RUNNING})),
    "on the way": _View(
        frozenset(
            {
                Status.REQUESTED,
                Status.CREATING,
                Status.STARTING,
                Status.STOPPING,
                Status.DELETING,
            }
        )
    ),
    "attention": _View(
        frozenset({Status.FAILED, Status.RECLAIMED, Status.LOST}),
        has_refused=False,
        has_notified=True,
    ),
    "ended": _View(frozenset(Status) - CURRENT, has_refused=True),
    "all": _View(frozenset()),
}

_ROWS = 100

# Everyone who looks at the same page within this time is shown the same; an event ends it.
_KEEP_PAGE = timedelta(seconds=2)
# Trends are of hours: nobody sees them change within seconds.
_KEEP_TRENDS = timedelta(seconds=20)
# Of fewer steps a line says nothing that the figure beside it does not say.
_FEWEST_STEPS = 8


async def show_fleet(request: Request) -> Response:
    """Show a page of the fleet."""
    site = site_of(request)
    query = request.query_params
    view = query.get("view") or "current"
    status = query.get("status", "")
    name = query.get("name", "").strip()[:255]
    cursor = query.get("cursor") or None
    try:
        meant = _View(frozenset({Status(status)})) if status else VIEWS[view]
    except (KeyError, ValueError) as error:
        raise GpuKeeperError("There is no such filter.", code="not_found") from error

    async def make() -> str:
        trends = await recent_trends(site, hours=24)
        fleet = await site.overview.fleet(
            statuses=meant.statuses,
            has_refused=meant.has_refused,
            has_notified=meant.has_notified,
            name=name or None,
            limit=_ROWS,
            cursor=cursor,
        )
        counts = fleet.census.by_status
        kept = {"view": view, "status": status, "name": name}
        return render(
            site,
            "fleet.html",
            "/",
            {
                "fleet": fleet,
                "counts": {**counts, Status.FAILED: counts[Status.FAILED] - fleet.census.refused},
                "attention": _attention(fleet.census),
                "views": VIEWS,
                "view": "" if status else view,
                "status": status,
                "name": name,
                "cursor": cursor,
                "statuses": list(Status),
                "newest": _address(kept),
                "older": _address(kept | {"cursor": fleet.next_cursor or ""}),
                "spend": draw_area(trends.spend) if trends.covered >= _FEWEST_STEPS else None,
            },
        )

    text = await site.kept.get(
        ("fleet", view, status, name, cursor),
        make,
        version=await site.overview.last_change(),
        now=site.overview.now(),
        keep_for=_KEEP_PAGE,
    )
    return HTMLResponse(text)


def _attention(census: Census) -> list[tuple[int, str]]:
    """Return how many of what somebody should look at, without what there is none of.

    Webhooks count by receiver: that is what has to be mended, however many were given up.
    """
    receivers = census.undelivered.receivers
    found = [
        (census.by_status[Status.FAILED] - census.refused, "failed"),
        (census.by_status[Status.RECLAIMED], "reclaimed"),
        (census.by_status[Status.LOST], "lost"),
        (census.notified, "to be taken back"),
        (receivers, "webhook receiver" if receivers == 1 else "webhook receivers"),
    ]
    return [each for each in found if each[0]]


def _address(query: dict[str, str]) -> str:
    return f"/?{urlencode({key: text for key, text in query.items() if text})}"


async def recent_trends(site: Site, *, hours: int) -> Trends:
    """Return the trends of the last hours, as they were some seconds ago at most."""
    return await site.kept.get(
        ("trends", hours),
        lambda: site.overview.trends(hours=hours, steps=96),
        version=0,
        now=site.overview.now(),
        keep_for=_KEEP_TRENDS,
    )
