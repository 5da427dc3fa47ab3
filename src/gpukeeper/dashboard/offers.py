"""What the order form offers to choose from: products side by side, regions, templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from gpukeeper.domain.costs import disk_per_hour
from gpukeeper.domain.offers import normalize_name
from gpukeeper.domain.products import Offer, Template
from gpukeeper.service.fleet import OrderChoices

_HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class Choice:
    """One product name: its cheapest offer here, if any, and the cheapest of other regions.

    ``width`` is the price as a part of the dearest price shown, in per cent.
    """

    name: str
    here: Offer | None
    elsewhere: tuple[Offer, ...]
    width: float
    is_chosen: bool
    disk_gb: int

    @property
    def per_day(self) -> Decimal | None:
        """What the cheapest offer costs in a whole day, with the disk, in USD."""
        return None if self.per_hour is None else self.per_hour * _HOURS_PER_DAY

    @property
    def per_hour(self) -> Decimal | None:
        """What the cheapest offer costs in an hour, with the disk, in USD."""
        return self.here.price_per_hour + disk_per_hour(self.disk_gb) if self.here else None


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that can be chosen; ``chosen`` is the product that is, if it is for sale."""

    products: tuple[Choice, ...]
    regions: tuple[str, ...]
    templates: tuple[Template, ...]

    @property
    def chosen(self) -> Choice | None:
        """The product that is chosen and for sale in this region."""
        return next((each for each in self.products if each.is_chosen and each.here), None)


def choices_of(shop: OrderChoices, *, chosen: str) -> Choices:
    """Return what a shop offers; cheapest first, what is not sold here last."""
    names = dict.fromkeys(offer.product_name for offer in (*shop.offers, *shop.elsewhere))
    cheapest = {name: next(iter(_of(name, shop.offers)), None) for name in names}
    dearest = max((offer.price_per_hour for offer in cheapest.values() if offer), default=None)
    return Choices(
        products=tuple(
            Choice(
                name=name,
                here=here,
                elsewhere=_by_region(_of(name, shop.elsewhere)),
                width=max(float(100 * here.price_per_hour / dearest), 1.0)
                if here and dearest
                else 0.0,
                is_chosen=normalize_name(name) == normalize_name(chosen),
                disk_gb=shop.disk_gb,
            )
            for name, here in cheapest.items()
        ),
        regions=tuple(sorted({cluster.region for cluster in shop.clusters})),
        templates=shop.templates,
    )


def _by_region(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the first, and so the cheapest, offer of each region."""
    cheapest: dict[str, Offer] = {}
    for offer in offers:
        cheapest.setdefault(offer.region, offer)
    return tuple(cheapest.values())


def _of(name: str, offers: Sequence[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer.product_name == name]
