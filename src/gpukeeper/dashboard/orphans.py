"""The page of machines that may be ours and that the store does not know."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gpukeeper.dashboard.forms import read_form
from gpukeeper.dashboard.site import check_id, site_of
from gpukeeper.dashboard.template_engine import page
from gpukeeper.domain.errors import GpuKeeperError, NotFound

_VERBS = frozenset({"adopt", "delete"})


async def show_orphans(request: Request) -> Response:
    """Show every orphan."""
    return page(request, "orphans.html", orphans=await site_of(request).service.orphans())


async def confirm(request: Request, novita_id: str, verb: str) -> Response:
    """Ask whether this is really meant, naming the machine."""
    _check_verb(verb)
    orphans = await site_of(request).service.orphans()
    found = next((each for each in orphans if each.novita_id == novita_id), None)
    if found is None:
        raise NotFound(f"There is no orphan '{novita_id}'.")
    return page(request, "confirm_orphan.html", orphan=found, verb=verb)


async def carry_out(request: Request, novita_id: str, verb: str) -> Response:
    """Take an orphan in, or take it in and delete it, and show the instance."""
    await read_form(request)
    _check_verb(verb)
    service = site_of(request).service
    machine = check_id(novita_id)
    if verb == "adopt":
        # Whoever adopts here was shown whose mark it carries.
        view = await service.adopt(machine, is_any_meant=True)
    else:
        view = await service.delete_orphan(machine)
    return RedirectResponse(f"/instances/{view.instance.id}", 303)


def _check_verb(verb: str) -> None:
    if verb not in _VERBS:
        raise GpuKeeperError("There is no such page.", code="not_found")
