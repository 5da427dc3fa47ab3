"""The page of pictures: spend over time, time to running, statuses."""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.dashboard.charts import draw_area, draw_stack, draw_strips, ticks
from gpukeeper.dashboard.fleet import recent_trends
from gpukeeper.dashboard.site import site_of
from gpukeeper.dashboard.template_engine import page

_HOURS = {"hour": 1, "day": 24, "week": 7 * 24}
_DAY = timedelta(days=1)


async def show_trends(request: Request) -> Response:
    """Show the last hour, day or week; at first the day, or the hour before there is a day."""
    site = site_of(request)
    last = request.query_params.get("last", "")
    if last not in _HOURS:
        last = "day" if await site.overview.age() >= _DAY else "hour"
    trends = await recent_trends(site, hours=_HOURS[last])
    return page(
        request,
        "trends.html",
        trends=trends,
        last=last,
        periods=tuple(_HOURS),
        spend_now=(await site.service.census()).spend_per_hour,
        spend=draw_area(trends.spend),
        levels=draw_stack(trends.levels),
        times=draw_strips(trends.times_to_running),
        ticks=ticks(trends.window),
        # Over more than a day, the time of day alone does not say when.
        has_dates=trends.window.end - trends.window.start > _DAY,
    )
