"""Ask a person step by step for what an order needs, with the offers in view."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import typer

from gpukeeper.cli.terminal.output import format_disk, format_dollars, format_price, note
from gpukeeper.cli.terminal.prompts import confirm, prompt
from gpukeeper.cli.terminal.text_tables import Column, lay_out
from gpukeeper.client import ApiProblem, Client, OfferInfo, RegionInfo, TemplateInfo
from gpukeeper.domain.offers import normalize_name

_OFFERS: tuple[Column[tuple[int, OfferInfo]], ...] = (
    Column("", lambda row: str(row[0]), is_right=True),
    Column("PRODUCT", lambda row: row[1].product_name, narrowest=13),
    Column("REGION", lambda row: row[1].region, rank=1),
    Column("USD/H", lambda row: format_price(row[1].price_per_hour), is_right=True),
    Column("STOCK", lambda row: row[1].stock, rank=2),
    Column("MAX DISK", lambda row: format_disk(row[1].max_rootfs_size), rank=3, is_right=True),
)
_TEMPLATES: tuple[Column[tuple[int, TemplateInfo]], ...] = (
    Column("", lambda row: str(row[0]), is_right=True),
    Column("TEMPLATE", lambda row: row[1].name, narrowest=13),
    Column("ID", lambda row: row[1].id),
    Column("IMAGE", lambda row: row[1].image_url, rank=1, narrowest=20),
)

# More lines than this push the first ones, the cheapest, off the screen.
_LONGEST_MENU = 15
# A shorter number was meant as one of the menu's.
_SHORTEST_TEMPLATE_ID = 4

Choice = TypeVar("Choice")

NAME = re.compile(r"[A-Za-z0-9-]{1,48}")
NAME_RULE = "A name has 1 to 48 letters, digits and '-', and nothing else."


@dataclass(frozen=True, slots=True)
class OrderAnswers:
    """The facts that an order needs; a region of None is the service's own.

    ``price_per_hour`` is what was agreed to, if a price was shown.
    """

    name: str
    product: str
    template: str
    region: str | None
    price_per_hour: Decimal | None


def ask_for_order(
    client: Client,
    *,
    name: str | None,
    product: str | None,
    template: str | None,
    region: str | None,
    billing: str | None,
    gpus: int | None,
    disk: int | None,
) -> OrderAnswers:
    """Return the answers, asking on stderr for those that are None; aborts on a no in the end."""
    name = _ask_name(name)
    offer = None
    if product is None:

        def for_sale(place: str | None) -> Sequence[OfferInfo]:
            found = client.offers(
                region=place, billing_mode=billing, gpu_num=gpus, rootfs_size_gb=disk
            )
            return _cheapest_of_each(found.items)

        offer = _ask_offer(for_sale, region, client.regions().items)
        product, region = offer.product_name, offer.region
    if template is None:
        template = _ask_template(client)
    price = f" for {format_dollars(offer.price_per_hour)} per hour at most" if offer else ""
    place = f" in {region}" if region else ""
    confirm(f"Order '{name}': {product}{place}{price}?")
    return OrderAnswers(name, product, template, region, offer.price_per_hour if offer else None)


def _ask_name(name: str | None) -> str:
    while name is None or not NAME.fullmatch(name):
        if name is not None:
            note(NAME_RULE)
        name = prompt("Name (letters, digits and '-')")
    return name


def _cheapest_of_each(offers: Sequence[OfferInfo]) -> Sequence[OfferInfo]:
    """Return the offer of each name and region that an order of it buys: the cheapest."""
    found: dict[tuple[str, str], OfferInfo] = {}
    for offer in offers:
        # As the service compares names, so that no row stands for another one's price.
        found.setdefault((normalize_name(offer.product_name), offer.region), offer)
    return tuple(found.values())


def _ask_offer(
    for_sale: Callable[[str | None], Sequence[OfferInfo]],
    region: str | None,
    regions: Sequence[RegionInfo],
) -> OfferInfo:
    """Return the offer that was chosen; the name of another region shows what that one sells."""
    names = {each.name.casefold(): each.name for each in regions}
    shown = _show_offers(for_sale(region))
    others = [name for name in names.values() if not shown or name != shown[0].region]
    if not shown and (region is not None or not others):
        raise typer.Abort
    if others:
        note(f"Other regions: {', '.join(others)}.")
    while True:
        default = "1" if shown else None
        numbers = f"1 to {len(shown)}, or a region" if shown else "a region"
        answer = prompt(f"Which one? {numbers}", default=default)
        if (chosen := _choose_by_number(shown, answer)) is not None:
            return chosen
        if answer.casefold() in names:
            shown = _show_offers(for_sale(names[answer.casefold()]))
        else:
            note(f"'{answer}' is none of the numbers 1 to {len(shown)}, and no region.")


def _show_offers(offers: Sequence[OfferInfo]) -> Sequence[OfferInfo]:
    """Show the cheapest and return them."""
    if not offers:
        note("Nothing is for sale there: try another --region or --billing.")
        return ()
    shown = offers[:_LONGEST_MENU]
    _show_menu(_OFFERS, shown)
    if len(offers) > len(shown):
        note(f"… and {len(offers) - len(shown)} dearer ones: 'gpukeeper offers' shows all.")
    return shown


def _ask_template(client: Client) -> str:
    """Return the id of the template that was chosen from those that Novita lists, or any other."""
    shown: Sequence[TemplateInfo] = ()
    try:
        found = client.templates().items
    except ApiProblem as error:
        note(f"The templates cannot be listed: {error.message}")
        found = ()
    if found:
        shown = found[:_LONGEST_MENU]
        _show_menu(_TEMPLATES, shown)
        if len(found) > len(shown):
            note(f"… and {len(found) - len(shown)} more: Novita's console shows all.")
    while True:
        answer = prompt(
            f"Which template? 1 to {len(shown)}, or an id"
            if shown
            else "Template id (from Novita's console)"
        )
        if (chosen := _choose_by_number(shown, answer)) is not None:
            return chosen.id
        if shown and answer.isdecimal() and len(answer) < _SHORTEST_TEMPLATE_ID:
            note(f"'{answer}' is none of the numbers 1 to {len(shown)}.")
        elif answer:
            return answer


def _choose_by_number(shown: Sequence[Choice], answer: str) -> Choice | None:
    is_number = answer.isascii() and answer.isdecimal() and 1 <= int(answer) <= len(shown)
    return shown[int(answer) - 1] if is_number else None


def _show_menu(columns: Sequence[Column[tuple[int, Choice]]], shown: Sequence[Choice]) -> None:
    rows = enumerate(shown, start=1)
    width = shutil.get_terminal_size().columns
    print(lay_out(columns, rows, width=width, has_colours=False, blank=""), file=sys.stderr)
