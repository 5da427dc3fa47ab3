"""The page of pictures: spend over time, time to running, statuses."""

from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.dashboard.fleet import recent
from gpukeeper.dashboard.pictures import area, stacked, strips, ticks
from gpukeeper.dashboard.rendering import page
from gpukeeper.dashboard.site import site_of

_HOURS = {"hour": 1, "day": 24, "week": 7 * 24}


async def show_trends(request: Request) -> Response:
    """Show the last hour, day or week."""
    asked = request.query_params.get("last", "day")
    last = asked if asked in _HOURS else "day"
    site = site_of(request)
    trends = await recent(site, hours=_HOURS[last])
    return page(
        request,
        "trends.html",
        trends=trends,
        last=last,
        periods=tuple(_HOURS),
        spend_now=(await site.service.census()).spend_per_hour,
        spend=area(trends.spend),
        levels=stacked(trends.levels),
        times=strips(trends.times_to_running),
        ticks=ticks(trends.window),
    )
