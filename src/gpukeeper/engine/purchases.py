"""Buy what is ordered: choose, store the intent, ask Novita, and look up what was not answered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from gpukeeper.domain.errors import GpuKeeperError, NothingForSale, NovitaError, OutOfStock
from gpukeeper.domain.ids import may_be_altered
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle import purchases
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Listing, Observation, Phase
from gpukeeper.domain.products import Offer, PurchaseRequest
from gpukeeper.engine.applying import Applying, Fold
from gpukeeper.engine.loop import Clock
from gpukeeper.engine.price_check import Quote
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotation, Quotes
from gpukeeper.store import instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.telemetry import Logger

# Novita's clock and ours may differ by so much.
_SKEW = timedelta(minutes=5)

# Takes the token of the lease, and returns what came of it.
FirstStep = Callable[[str], Awaitable[Fold]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """How a new order begins: its row as it is to be stored, and what is done with it then."""

    row: Instance
    step: FirstStep


@dataclass(frozen=True, slots=True)
class Purchaser:
    """The steps of an order until Novita has sold a machine, or nothing is left to try."""

    applying: Applying
    database: Database
    novita: NovitaClient
    market: Quotes
    seal: EnvsCipher
    limits: Limits
    clock: Clock
    log: Logger

    def begin(self, row: Instance, choice: Quotation | Awaitable[Quotation]) -> Beginning:
        """Say how a new order is stored: with the intent to buy what it chose, if that is known."""
        if not isinstance(choice, Quotation):
            asked = choice
            return Beginning(row, lambda token: self._choose_and_buy(row, token, asked))
        offer, template, now = choice.offers[0], choice.template, self.clock()
        intended = schedule(purchases.record_choice(row, offer, template, now), now, self.limits)
        purchase = purchases.compose_request(intended, offer, template, envs=row.order.envs)
        quote = self._quote(intended, offer, choice)
        return Beginning(intended, lambda token: self._buy(intended, quote, purchase, token))

    async def choose_and_buy(self, instance: Instance, lease_token: str) -> Fold:
        """Buy the best offer that was not tried yet; return what came of it.  Raises LeaseLost."""
        return await self._choose_and_buy(instance, lease_token, self.market.choose(instance.order))

    async def look_up(self, instance: Instance) -> Fold:
        """Look for the machine of a purchase that was not answered; return what came of it.

        That the answer is lost comes first, since Novita may be away, and this process may end.
        """
        if instance.purchase.intent is not None and instance.purchase.intent.lookup_until is None:
            return lambda row: purchases.record_lost_answer(row, self.clock(), self.limits)
        suspects: list[Observation] = []
        try:
            listing = await self.novita.list_all(name=instance.novita_name)
            if not _of_this_name(listing, instance) and _is_last_look(instance, listing):
                # Before anything is bought again the filter is not trusted to find what is there,
                # nor Novita to have kept the name.
                listing = await self._list_the_fleet()
                suspects = await self._suspects(listing, instance)
        except NovitaError as error:
            self.log.warning("look_up_failed", instance_id=instance.id, code=error.error_code)
            return lambda row: purchases.postpone_lookup(row, self.clock())
        found = _of_this_name(listing, instance)
        if suspects and not found:
            return lambda row: purchases.hold_purchase(row, suspects, self.clock())
        for seen in found:
            await self.applying.make_way(seen.novita_id, instance)
        return lambda row: purchases.record_lookup(
            row,
            found,
            self.clock(),
            self.limits,
            asked_at=listing.at,
            is_complete=listing.is_complete,
        )

    async def _suspects(self, listing: Listing, instance: Instance) -> list[Observation]:
        """Return the machines that nobody knows and that may be this one under another name."""
        alike = [seen for seen in listing.machines if _may_be_bought_by(instance, seen)]
        if not alike:
            return []
        ids = [seen.novita_id for seen in alike]
        known = await self.database.read(lambda c: instances.find_known_novita_ids(c, ids))
        return [seen for seen in alike if seen.novita_id not in known]

    def _quote(self, instance: Instance, offer: Offer, choice: Quotation) -> Quote:
        limit = instance.order.max_price_per_hour
        return Quote(offer, choice.priced_at, limit, self.clock, self.market.price_now)

    async def _choose_and_buy(
        self, instance: Instance, lease_token: str, asked: Awaitable[Quotation]
    ) -> Fold:
        try:
            choice = await asked
        except GpuKeeperError as error:
            failure = error
            return lambda row: purchases.record_nothing_chosen(
                row, failure, self.clock(), self.limits
            )
        offer = purchases.choose_offer(instance, choice.offers)

        def read_envs(connection: Connection) -> dict[str, str]:
            return instances.read_envs(connection, instance.id, self.seal)

        # Together with the intent, which is stored only if no other has taken over meanwhile.
        change, envs = await self.applying.apply_and_read(
            instance.id,
            lambda row: purchases.record_choice(row, offer, choice.template, self.clock()),
            lease_token,
            read_envs,
        )
        if change.after.purchase.intent is None or offer is None:
            return lambda row: row
        purchase = purchases.compose_request(change.after, offer, choice.template, envs=envs)
        quote = self._quote(change.after, offer, choice)
        return await self._buy(change.after, quote, purchase, lease_token)

    async def _buy(
        self, instance: Instance, quote: Quote, purchase: PurchaseRequest, lease_token: str
    ) -> Fold:
        try:
            novita_id = await self.novita.create(
                purchase,
                check=self.applying.check(instance.id, lease_token),
                confirm=quote.confirm,
            )
        except (NovitaError, NothingForSale) as error:
            failure, offer = error, quote.offer
            self.log.warning(
                "purchase_refused",
                instance_id=instance.id,
                product_id=offer.product_id,
                region=offer.region,
                code=error.error_code,
                novita_reason=error.reason if isinstance(error, NovitaError) else None,
                novita_message=error.message,
            )
            if isinstance(error, OutOfStock):
                self.market.forget()
            return lambda row: purchases.record_refusal(
                row, offer, failure, self.clock(), self.limits
            )
        return lambda row: purchases.record_purchase(row, quote.offer, novita_id, self.clock())

    async def _list_the_fleet(self) -> Listing:
        """List everything; complete only if it shows anything of what exists (§6.3)."""
        rows = await self.database.read(instances.list_sweep_rows)
        listing = await self.novita.list_all()
        known = {row.novita_id for row in rows}
        is_believed = not rows or any(seen.novita_id in known for seen in listing.machines)
        return replace(listing, is_complete=listing.is_complete and is_believed)


def _of_this_name(listing: Listing, instance: Instance) -> list[Observation]:
    """Return the machines of exactly the name: Novita's filter is fuzzy (API notes §9)."""
    return [
        seen
        for seen in listing.machines
        if seen.name == instance.novita_name and seen.phase is not Phase.GONE
    ]


def _may_be_bought_by(instance: Instance, seen: Observation) -> bool:
    """Whether Novita may have changed the name that this purchase sent into the machine's."""
    intent = instance.purchase.intent
    if intent is None or seen.phase is Phase.GONE:
        return False
    is_older = seen.created_at is not None and seen.created_at < intent.since - _SKEW
    is_other = seen.product_id not in ("", intent.offer.product_id)
    return not is_older and not is_other and may_be_altered(seen.name, instance.novita_name)


def _is_last_look(instance: Instance, listing: Listing) -> bool:
    """Whether an absence in this listing would mean that nothing was bought."""
    until = instance.purchase.intent.lookup_until if instance.purchase.intent else None
    return until is not None and listing.at >= until
