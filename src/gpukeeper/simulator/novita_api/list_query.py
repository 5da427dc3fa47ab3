"""Which machines a list call shows: filters, order and Novita's page numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpukeeper.simulator.machines.machine import Machine
from gpukeeper.simulator.novita_api.known_refusals import invalid
from gpukeeper.simulator.simulator_settings import Settings


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of a list call."""

    number: int
    size: int
    name: str = ""
    product_name: str = ""
    status: str = ""


def read_query(params: Mapping[str, str], settings: Settings) -> ListQuery:
    """Read the query; unknown parameters are ignored, so a typo pages nowhere.

    Raise :class:`Refusal` for numbers that are none.
    """
    size = read_number(params, "pageSize") or settings.page_size_default
    first = 0 if settings.page_base == "zero" else 1
    return ListQuery(
        number=read_number(params, "pageNum", default=first),
        size=min(size, settings.page_size_max),
        name=params.get("name", "").casefold(),
        product_name=params.get("productName", "").casefold(),
        status=params.get("status", ""),
    )


def read_number(params: Mapping[str, str], name: str, *, default: int = 0) -> int:
    """Read a whole number of a list call; raise :class:`Refusal` when it is none."""
    text = params.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise invalid(f"{name}: a whole number from 0 on")
    return int(text)


def compute_row_range(query: ListQuery, settings: Settings) -> tuple[int, int]:
    """Return from which row to which row the page goes."""
    if settings.page_base == "zero":
        page = query.number
    elif settings.page_base == "one":
        page = query.number - 1
    else:
        page = max(query.number, 1) - 1
    if page < 0:
        return 0, 0
    return page * query.size, (page + 1) * query.size


def find_matching(
    machines: Iterable[Machine],
    product_names: Mapping[str, str],
    *,
    query: ListQuery,
    at: datetime,
    settings: Settings,
    now: datetime,
) -> list[Machine]:
    """Return the machines that the list shows as of ``at``, in the order given."""
    absent_since = now - timedelta(seconds=settings.list_lag_seconds)
    found: list[Machine] = []
    for machine in machines:
        # Cheapest test first: a fleet of ten thousand is passed through for every page.
        if query.name and query.name not in machine.order.name.casefold():
            continue
        if machine.created_at > absent_since or machine.is_gone(at):
            continue
        moment = machine.at(at)
        if moment is None or (query.status and moment.status != query.status):
            continue
        product = product_names.get(machine.order.product_id, "").casefold()
        if query.product_name and query.product_name not in product:
            continue
        found.append(machine)
    return found
