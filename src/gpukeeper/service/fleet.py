"""The use cases of those who look rather than read: the fleet with its costs, trends, the market.

Nothing here changes anything.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from gpukeeper.domain.costs import Charge, Rate, cost_so_far, list_charges, rate_of, rate_of_orphan
from gpukeeper.domain.errors import NovitaError
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Template
from gpukeeper.domain.status_timeline import (
    StatusPeriod,
    Timeline,
    Window,
    mean_levels,
    status_periods,
    time_to_running,
)
from gpukeeper.service.health import Census, spend_per_hour, take_census
from gpukeeper.service.service import Service
from gpukeeper.service.time_limit import limit_time
from gpukeeper.service.views import View, build_view, decode_cursor, encode_cursor
from gpukeeper.store import events, facts, orphans, pagination, timelines
from gpukeeper.store.db.database import Connection

T = TypeVar("T")

# A picture of less would have the same time at all of its ticks.
_SHORTEST_WINDOW = timedelta(hours=1)

# What is counted together over time; statuses that are missing here have no machine.
_LEVELS: dict[str, frozenset[Status]] = {
    "running": frozenset({Status.RUNNING}),
    "coming up": frozenset({Status.REQUESTED, Status.CREATING, Status.STARTING}),
    "going down": frozenset({Status.STOPPING, Status.DELETING}),
    "stopped": frozenset({Status.STOPPED, Status.RECLAIMED}),
    "failed": frozenset({Status.FAILED}),
}


@dataclass(frozen=True, slots=True)
class FleetRow:
    """An instance with what it costs now, and has cost so far in USD, which is an estimate."""

    view: View
    rate: Rate
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """A page of the fleet, how many match, where the next page begins, and the whole counted."""

    rows: tuple[FleetRow, ...]
    total: int
    next_cursor: str | None
    census: Census
    novita_error: str | None


@dataclass(frozen=True, slots=True)
class InstanceHistory:
    """What an instance went through, what it costs now, and has cost so far in USD."""

    spans: tuple[StatusPeriod, ...]
    rate: Rate
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Trends:
    """The last hours in figures.

    ``spend`` is USD per hour and ``levels`` the number of machines in a group of statuses, both
    as the mean of each step of ``window`` and, in the last one, as it is now; ``levels_now`` is
    the number now.  ``covered`` is how many steps the history reaches back.
    ``times_to_running`` are those of each product in order; ``entered`` counts how often each
    status was entered.
    """

    window: Window
    covered: int
    spend: Sequence[float]
    spent: Decimal
    levels: dict[str, Sequence[float]]
    levels_now: dict[str, int]
    times_to_running: dict[str, tuple[timedelta, ...]]
    entered: dict[Status, int]


@dataclass(frozen=True, slots=True)
class OrderChoices:
    """What can be ordered: the offers of one region, those of all others, regions, templates.

    All of it with a disk of ``disk_gb``.
    """

    offers: tuple[Offer, ...]
    elsewhere: tuple[Offer, ...]
    clusters: tuple[Cluster, ...]
    templates: tuple[Template, ...]
    disk_gb: int = 60


@dataclass(frozen=True, slots=True)
class Overview:
    """Looks at what the service keeps and at what Novita sells."""

    service: Service

    def now(self) -> datetime:
        """Return the time by the service's clock."""
        return self.service.clock()

    async def last_change(self) -> int:
        """Return a number that grows with every event."""
        _, newest = await self.service.database.read(events.find_bounds)
        return newest

    async def fleet(
        self,
        *,
        statuses: Collection[Status],
        has_refused: bool | None,
        has_notified: bool = False,
        name: str | None,
        limit: int,
        cursor: str | None,
    ) -> Fleet:
        """Return a page of instances, newest first; no ``statuses`` means all.

        Orders that failed with nothing bought are among them, or left out, or there whatever the
        statuses are, as ``has_refused`` (None, False, True) says; ``has_notified`` adds the
        machines that Novita has said that it takes back.
        Raises InvalidOrder for a bad cursor.
        """
        before = decode_cursor(cursor)
        now = self.now()

        def read(connection: Connection) -> Fleet:
            rows, total, following = pagination.list_page(
                connection,
                statuses=statuses,
                has_refused=has_refused,
                has_notified=has_notified,
                name=name,
                before=before,
                limit=limit,
            )
            looks = facts.find_state(connection)
            ids = [row.id for row in rows]
            entered = timelines.find_statuses(connection, ids)
            prices = timelines.find_prices(connection, ids)
            patience = self.service.patience
            return Fleet(
                rows=tuple(
                    FleetRow(
                        build_view(row, looks, now, patience=patience),
                        rate_of(row),
                        cost_so_far(
                            _life(row, entered.get(row.id, ()), prices.get(row.id, ())), now
                        ),
                    )
                    for row in rows
                ),
                total=total,
                next_cursor=encode_cursor(following),
                census=take_census(connection, now),
                novita_error=looks.error,
            )

        return await self.service.database.read(read)

    async def story(self, instance: Instance) -> InstanceHistory:
        """Return what an instance went through."""
        entered, prices = await self.service.database.read(
            lambda connection: (
                timelines.find_statuses(connection, [instance.id]),
                timelines.find_prices(connection, [instance.id]),
            )
        )
        life = _life(instance, entered.get(instance.id, ()), prices.get(instance.id, ()))
        return InstanceHistory(
            status_periods(life), rate_of(instance), cost_so_far(life, self.now())
        )

    async def age(self) -> timedelta:
        """Return how far the history reaches back."""
        begins_at = await self.service.database.read(events.find_oldest_at)
        return timedelta() if begins_at is None else self.now() - begins_at

    async def trends(self, *, hours: int, steps: int) -> Trends:
        """Return the figures of the last hours, with so many steps.

        Of a history that is shorter it is as long as that, but an hour at least: the mean of a
        time in which there was no service says nothing.
        """
        now = self.now()

        def read(connection: Connection) -> Trends:
            begins_at = events.find_oldest_at(connection) or now
            start = max(now - timedelta(hours=hours), min(begins_at, now - _SHORTEST_WINDOW))
            window = Window(start, now, steps)
            covered = math.ceil((now - max(begins_at, start)) / window.step)
            return _trends(
                timelines.list_since(connection, start),
                window,
                covered,
                charges=_orphans_charges(connection),
                spend_now=spend_per_hour(connection),
            )

        # In the reader's thread as well: of a large fleet it is more than the event loop can spare.
        return await self.service.database.read(read)

    async def shop(
        self, *, region: str, billing_mode: BillingMode, gpu_num: int, rootfs_size_gb: int
    ) -> OrderChoices:
        """Return what can be ordered now with such a disk, as the price choice sees it.

        Templates are left out when Novita does not list them.  Raises InvalidOrder and NovitaError.
        """
        market = self.service.market
        # Side by side, so that all of them have the whole time.
        offers, elsewhere, clusters, templates = await asyncio.gather(
            self._in_time(
                market.price_list(
                    product_name=None,
                    region=region,
                    billing_mode=billing_mode,
                    gpu_num=gpu_num,
                    rootfs_size_gb=rootfs_size_gb,
                )
            ),
            self._in_time(
                market.elsewhere(
                    region=region,
                    billing_mode=billing_mode,
                    gpu_num=gpu_num,
                    rootfs_size_gb=rootfs_size_gb,
                )
            ),
            self._in_time(market.catalog.clusters()),
            self._templates(),
        )
        return OrderChoices(
            offers=offers,
            elsewhere=elsewhere,
            clusters=clusters,
            templates=templates,
            disk_gb=rootfs_size_gb,
        )

    async def _in_time(self, asking: Coroutine[Any, Any, T]) -> T:
        async with limit_time(self.service.read_limit, self.service.novita):
            return await asking

    async def _templates(self) -> tuple[Template, ...]:
        """Return what can be chosen from; an order names its template by id and needs no list."""
        try:
            return await self._in_time(self.service.market.catalog.templates())
        except NovitaError as error:
            self.service.log.warning("templates_not_listed", code=error.error_code)
            return ()


def _orphans_charges(connection: Connection) -> list[Charge]:
    """Return what the orphans cost since they were found; of those before nothing is kept."""
    return [
        Charge(orphan.first_seen_at, None, rate_of_orphan(orphan.machine).total)
        for orphan in orphans.list_all(connection)
    ]


def _life(
    instance: Instance, entered: timelines.StatusTimes, prices: timelines.PriceTimes
) -> Timeline:
    return Timeline(
        product_name=instance.machine.product_name or instance.order.product_name,
        price_per_hour=instance.machine.price_per_hour,
        entered=entered,
        gone_at=instance.machine.gone_at,
        disk_gb=instance.order.rootfs_size_gb,
        gpu_off_at=instance.machine.gpu_off_at,
        prices=prices,
    )


def _trends(
    found: Sequence[Timeline],
    window: Window,
    covered: int,
    *,
    charges: Sequence[Charge],
    spend_now: Decimal,
) -> Trends:
    billed = [
        (each.since, each.until, float(each.usd_per_hour))
        for each in (*charges, *(charge for life in found for charge in list_charges(life)))
    ]
    spend = mean_levels(billed, window)
    hours_per_step = window.step / timedelta(hours=1)
    times: dict[str, list[timedelta]] = defaultdict(list)
    entered: Counter[Status] = Counter()
    weighed = {name: _with(found, group) for name, group in _LEVELS.items()}
    for life in found:
        entered.update(status for status, at in life.entered if at >= window.start)
        took = time_to_running(life)
        if took is not None:
            times[life.product_name].append(took)
    levels_now = {
        name: sum(until is None for _, until, _ in spans) for name, spans in weighed.items()
    }
    return Trends(
        window=window,
        covered=covered,
        # The right edge is now: the mean of a step that has just begun to change would lie.
        spend=[*spend[:-1], float(spend_now)],
        spent=Decimal(sum(spend) * hours_per_step),
        levels={
            name: [*mean_levels(spans, window)[:-1], float(levels_now[name])]
            for name, spans in weighed.items()
        },
        levels_now=levels_now,
        times_to_running={name: tuple(sorted(times[name])) for name in sorted(times)},
        entered=dict(entered),
    )


def _with(
    found: Sequence[Timeline], statuses: frozenset[Status]
) -> list[tuple[datetime, datetime | None, float]]:
    """Return when there was a machine in these statuses; what was never bought has none."""
    return [
        (span.since, span.until or life.gone_at, 1.0)
        for life in found
        if life.price_per_hour is not None
        for span in status_periods(life)
        if span.status in statuses
    ]
