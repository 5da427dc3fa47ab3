"""The page of one instance: its way, how to reach it, and what may be asked of it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpukeeper.dashboard.charts import draw_timeline
from gpukeeper.dashboard.filters import verbs_for
from gpukeeper.dashboard.forms import read_form
from gpukeeper.dashboard.site import check_id, site_of
from gpukeeper.dashboard.template_engine import page
from gpukeeper.domain.errors import GpuKeeperError
from gpukeeper.domain.instances import Command

# An instance has a handful of events, each with one delivery per URL.
_DELIVERIES = 50


async def show_instance(request: Request, instance_id: str) -> Response:
    """Show everything that is known of an instance."""
    site = site_of(request)
    view = await site.service.instance(check_id(instance_id))
    events = await site.service.events(view.instance.id)
    deliveries, _ = await site.service.deliveries(
        status=None, instance_id=view.instance.id, limit=_DELIVERIES, cursor=None
    )
    story = await site.overview.story(view.instance)
    return page(
        request,
        "instance.html",
        view=view,
        instance=view.instance,
        events=events,
        deliveries=deliveries,
        story=story,
        pieces=draw_timeline(story.spans, site.overview.now()),
    )


async def show_connection(request: Request, instance_id: str) -> Response:
    """Show how to reach a machine, with its password, for those without scripts."""
    site = site_of(request)
    view = await site.service.instance(check_id(instance_id))
    connection = await site.service.connection(view.instance.id)
    return page(request, "connection.html", instance=view.instance, connection=connection)


async def confirm(request: Request, instance_id: str, verb: str) -> Response:
    """Ask whether this is really meant, naming the machine and what happens to its data."""
    view = await site_of(request).service.instance(check_id(instance_id))
    asked = verb_of(verb)
    return page(
        request,
        "confirm.html",
        instance=view.instance,
        verb=asked,
        is_allowed=asked in verbs_for(view.instance),
    )


async def carry_out(request: Request, instance_id: str, verb: str) -> Response:
    """Store the wish and show the instance."""
    await read_form(request)
    view = await site_of(request).service.want(check_id(instance_id), verb_of(verb))
    return RedirectResponse(f"/instances/{view.instance.id}", 303)


def verb_of(word: str) -> Command:
    """Return the verb that an address names.  Raises ``not_found``."""
    try:
        return Command(word)
    except ValueError as error:
        raise GpuKeeperError("There is no such page.", code="not_found") from error
