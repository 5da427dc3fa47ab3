"""Keep what Novita sells for a short while: products, clusters and templates."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Generic, TypeVar

from gpukeeper.domain.errors import (
    Fault,
    InvalidOrder,
    NovitaError,
    NovitaNotFound,
    NovitaUnavailable,
)
from gpukeeper.domain.products import BillingMode, Cluster, Product, Template
from gpukeeper.novita.client import NovitaClient

# Whose templates are offered; those of strangers can be ordered by id all the same.
_CHANNELS = ("private", "official")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Catalog:
    """Novita's products, clusters and templates, each asked for once at a time.

    Concurrent identical questions share one call, and one of them being cancelled does not
    disturb the others.  Failures are not kept.  Every method may raise what the client raises.
    """

    def __init__(
        self,
        client: NovitaClient,
        *,
        clock: Callable[[], datetime],
        products_for: timedelta = timedelta(seconds=30),
        clusters_for: timedelta = timedelta(hours=1),
        templates_for: timedelta = timedelta(seconds=30),
    ) -> None:
        self._client = client
        self.now = clock
        self._products: _Shelf[tuple[str | None, BillingMode, int], tuple[Product, ...]] = _Shelf(
            keep_for=products_for, clock=clock
        )
        self._clusters: _Shelf[None, tuple[Cluster, ...]] = _Shelf(
            keep_for=clusters_for, clock=clock, serves_stale=True
        )
        self._listed_templates: _Shelf[None, tuple[Template, ...]] = _Shelf(
            keep_for=templates_for, clock=clock
        )
        self._templates: _Shelf[str, Template] = _Shelf(keep_for=templates_for, clock=clock)

    async def products(
        self,
        *,
        cluster_id: str | None,
        billing_mode: BillingMode,
        gpu_num: int,
        afresh: bool = False,
    ) -> tuple[Product, ...]:
        """Return what is sold in one cluster or (``None``) in all.

        ``afresh`` asks Novita in any case, since what is kept may not be true any more.
        """

        async def fetch() -> tuple[Product, ...]:
            return await self._client.products(
                cluster_id=cluster_id, billing_mode=billing_mode, gpu_num=gpu_num
            )

        return await self._products.get((cluster_id, billing_mode, gpu_num), fetch, afresh=afresh)

    async def products_in_turn(
        self, *, cluster_id: str, billing_mode: BillingMode, gpu_num: int
    ) -> tuple[Product, ...]:
        """Return what is sold in one cluster now, for whoever has a turn to ask Novita."""
        return await self._client.products_in_turn(
            cluster_id=cluster_id, billing_mode=billing_mode, gpu_num=gpu_num
        )

    async def clusters(self) -> tuple[Cluster, ...]:
        """Return all regions; old ones while they are refreshed, or as long as that fails."""
        return await self._clusters.get(None, self._fetch_clusters)

    async def cluster(self, region: str) -> Cluster:
        """Return the region of this id, full name, or name without its label; case is ignored.

        Raises InvalidOrder (``region_not_found``) naming all that there are: they are few, and a
        name that is spelt alike may be on another continent.
        """
        clusters = await self.clusters()
        found = _find_cluster(clusters, region)
        if found is not None:
            return found
        known = ", ".join(sorted({cluster.region for cluster in clusters}))
        message = f"Novita has no region '{region}'. Its regions are {known}."
        raise InvalidOrder(
            message, code="region_not_found", faults=[Fault(field="region", message=message)]
        )

    async def template(self, template_id: str) -> Template:
        """Return a template.

        Raises InvalidOrder (``template_not_found``) naming the nearest ids when there is none.
        """

        async def fetch() -> Template:
            return await self._client.template(template_id)

        try:
            return await self._templates.get(template_id, fetch)
        except NovitaNotFound as error:
            message = f"Novita has no template '{template_id}'.{await self._meant(template_id)}"
            raise InvalidOrder(
                message,
                code="template_not_found",
                faults=[Fault(field="templateId", message=message)],
            ) from error

    def known_products(
        self, *, cluster_id: str, billing_mode: BillingMode, gpu_num: int
    ) -> tuple[Product, ...] | None:
        """Return what is sold in one cluster, if Novita need not be asked."""
        return self._products.fresh((cluster_id, billing_mode, gpu_num))

    @property
    def keeps_products(self) -> bool:
        """Whether anything is kept of what is sold."""
        return self._products.keeps_any

    @property
    def keeps_clusters(self) -> bool:
        """Whether the regions are kept."""
        return self._clusters.keeps_any

    def known_cluster(self, region: str) -> Cluster | None:
        """Return a region as :meth:`cluster` does, if it is known without asking Novita."""
        clusters = self._clusters.fresh(None)
        return None if clusters is None else _find_cluster(clusters, region)

    def known_template(self, template_id: str) -> Template | None:
        """Return a template, if Novita need not be asked."""
        return self._templates.fresh(template_id)

    async def _meant(self, template_id: str) -> str:
        try:
            known = [template.id for template in await self.templates()]
        except NovitaError:
            # It is help only; that there is no such template is known without it.
            return ""
        near = get_close_matches(template_id, known)
        return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""

    async def templates(self) -> tuple[Template, ...]:
        """Return the account's own templates, then Novita's, each by name."""

        async def fetch() -> tuple[Template, ...]:
            listed = [await self._client.templates(channel) for channel in _CHANNELS]
            found = {
                template.id: template
                for templates in listed
                for template in sorted(templates, key=lambda each: each.name.casefold())
            }
            return tuple(found.values())

        return await self._listed_templates.get(None, fetch)

    def forget_products(self) -> None:
        """Forget all products, because Novita refused to sell one that was listed."""
        self._products.forget()

    def forget(self) -> None:
        """Forget products and regions, because an order would be refused on what is kept."""
        self._products.forget()
        self._clusters.forget()

    async def _fetch_clusters(self) -> tuple[Cluster, ...]:
        clusters = await self._client.clusters()
        if not clusters:
            # Believing this would refuse every order for an hour.
            raise NovitaUnavailable("Novita listed no region at all, which is taken for a fault.")
        return clusters


def _find_cluster(clusters: Sequence[Cluster], region: str) -> Cluster | None:
    wanted = region.strip().casefold()
    for spelling in map(attrgetter, ("id", "name", "region")):
        for cluster in clusters:
            if spelling(cluster).casefold() == wanted:
                return cluster
    return None


@dataclass(frozen=True, slots=True)
class _Kept(Generic[V]):
    value: V
    until: datetime


class _Shelf(Generic[K, V]):
    """Values kept for a while under their keys, each fetched by one call at a time."""

    def __init__(
        self, *, keep_for: timedelta, clock: Callable[[], datetime], serves_stale: bool = False
    ) -> None:
        self._keep_for = keep_for
        self._clock = clock
        self._serves_stale = serves_stale
        self._kept: dict[K, _Kept[V]] = {}
        self._fetching: dict[K, asyncio.Task[V]] = {}

    @property
    def keeps_any(self) -> bool:
        return any(map(self._is_fresh, self._kept.values()))

    def fresh(self, key: K) -> V | None:
        kept = self._kept.get(key)
        return kept.value if kept is not None and self._is_fresh(kept) else None

    async def get(
        self, key: K, fetch: Callable[[], Coroutine[Any, Any, V]], *, afresh: bool = False
    ) -> V:
        if afresh:
            return await asyncio.shield(self._begin(key, fetch))
        kept = self._kept.get(key)
        if kept is not None and self._is_fresh(kept):
            return kept.value
        task = self._fetching.get(key) or self._begin(key, fetch)
        if kept is not None and self._serves_stale:
            return kept.value
        # The shield lets one waiter be cancelled without cancelling the call of the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Forget what is kept, and do not keep what is being fetched now."""
        self._kept.clear()
        self._fetching.clear()

    def _begin(self, key: K, fetch: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        until = self._clock() + self._keep_for
        task = asyncio.create_task(fetch())
        self._fetching[key] = task
        task.add_done_callback(lambda done: self._end(key, done, until))
        return task

    def _end(self, key: K, task: asyncio.Task[V], until: datetime) -> None:
        # Asking for the exception also marks it as seen where only a refresh has failed.
        is_failed = task.cancelled() or task.exception() is not None
        if self._fetching.get(key) is not task:
            return
        del self._fetching[key]
        if is_failed:
            return
        if not self._serves_stale:
            self._drop_expired()
        self._kept[key] = _Kept(task.result(), until)

    def _drop_expired(self) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if self._is_fresh(kept)}

    def _is_fresh(self, kept: _Kept[V]) -> bool:
        """Whether it may be used; what a clock that was set back leaves in the future may not."""
        return kept.until - self._keep_for <= self._clock() < kept.until
