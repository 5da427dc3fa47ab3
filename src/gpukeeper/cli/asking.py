"""Ask a person step by step for what an order needs, with the offers in view."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import typer

from gpukeeper.cli.output import ask_to_confirm, clean, layout, money, note, prompt
from gpukeeper.client import Client, OfferInfo
from gpukeeper.domain.events import format_money
from gpukeeper.domain.offers import fold

_COLUMNS = ("", "PRODUCT", "REGION", "USD/H", "STOCK", "MAX DISK")

# More lines than this push the first ones, the cheapest, off the screen.
_SHOWN_OFFERS = 15

_NAME = re.compile(r"[A-Za-z0-9-]{1,48}")
_NAME_RULE = "A name has 1 to 48 letters, digits and '-', and nothing else."


@dataclass(frozen=True, slots=True)
class Answers:
    """What has to be known of an order; a region of None is the service's own.

    ``price_per_hour`` is what was agreed to, if a price was shown.
    """

    name: str
    product: str
    template: str
    region: str | None
    price_per_hour: Decimal | None


def is_possible() -> bool:
    """Whether somebody sits there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(
    client: Client,
    *,
    name: str | None,
    product: str | None,
    template: str | None,
    region: str | None,
    billing: str | None,
    gpus: int | None,
    disk: int | None,
) -> Answers:
    """Return the answers, asking on stderr for those that are None; aborts on a no in the end."""
    name = _ask_name(name)
    region_name = region
    offer = None
    if product is None:
        offers = client.offers(
            region=region, billing_mode=billing, gpu_num=gpus, rootfs_size_gb=disk
        ).items
        offer = _ask_offer(_cheapest_of_each(offers))
        product, region_name = offer.product_name, region or offer.region
    if template is None:
        template = prompt("Template id (from Novita's console)")
    price = f" for {money(offer.price_per_hour)} per hour at most" if offer else ""
    place = f" in {region_name}" if region_name else ""
    ask_to_confirm(f"Order '{name}': {product}{place}{price}?")
    return Answers(name, product, template, region_name, offer.price_per_hour if offer else None)


def _ask_name(name: str | None) -> str:
    while name is None or not _NAME.fullmatch(name):
        if name is not None:
            note(_NAME_RULE)
        name = prompt("Name (letters, digits and '-')")
    return name


def _cheapest_of_each(offers: Sequence[OfferInfo]) -> Sequence[OfferInfo]:
    """Return the offer of each name and region that an order of it buys: the cheapest."""
    found: dict[tuple[str, str], OfferInfo] = {}
    for offer in offers:
        # As the service compares names, so that no row stands for another one's price.
        found.setdefault((fold(offer.product_name), offer.region), offer)
    return tuple(found.values())


def _ask_offer(offers: Sequence[OfferInfo]) -> OfferInfo:
    if not offers:
        note("Nothing is for sale there: try another --region or --billing.")
        raise typer.Abort
    shown = offers[:_SHOWN_OFFERS]
    rows = [
        (
            str(number),
            clean(offer.product_name),
            clean(offer.region),
            format_money(offer.price_per_hour) or "",
            clean(offer.stock),
            f"{offer.max_rootfs_size} GB" if offer.max_rootfs_size else "",
        )
        for number, offer in enumerate(shown, start=1)
    ]
    print(layout(_COLUMNS, rows, width=None, is_coloured=False), file=sys.stderr)
    if len(offers) > len(shown):
        note(f"… and {len(offers) - len(shown)} dearer ones: 'gpukeeper offers' shows all.")
    while True:
        answer = prompt(f"Which one? 1 to {len(shown)}", default="1")
        if answer.isascii() and answer.isdecimal() and 1 <= int(answer) <= len(shown):
            return shown[int(answer) - 1]
        note(f"'{answer}' is none of the numbers 1 to {len(shown)}.")
