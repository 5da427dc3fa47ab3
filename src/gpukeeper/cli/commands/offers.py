"""The command that shows what is for sale."""

from typing import Annotated

import typer

from gpukeeper.cli.service_access import open_client
from gpukeeper.cli.terminal.output import Format, Output, format_disk, format_price, show
from gpukeeper.cli.terminal.text_tables import Column, format_table
from gpukeeper.client import OfferInfo
from gpukeeper.domain.products import BillingMode

_COLUMNS: tuple[Column[OfferInfo], ...] = (
    Column("PRODUCT ID", lambda each: each.product_id, rank=5),
    Column("PRODUCT", lambda each: each.product_name, narrowest=13),
    Column("REGION", lambda each: each.region, rank=1),
    Column("BILLING", lambda each: each.billing_mode, rank=4),
    Column("GPUS", lambda each: str(each.gpu_num), rank=3, is_right=True),
    Column("USD/H", lambda each: format_price(each.price_per_hour), is_right=True),
    Column("STOCK", lambda each: each.stock, rank=2),
    Column("MAX DISK", lambda each: format_disk(each.max_rootfs_size), rank=6, is_right=True),
)


def offers(
    ctx: typer.Context,
    product: Annotated[str | None, typer.Option(help="Only products of this name.")] = None,
    region: Annotated[str | None, typer.Option(help="Only in this region.")] = None,
    billing: Annotated[
        BillingMode | None,
        typer.Option(case_sensitive=False, metavar="spot|onDemand", help="spot unless given."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, max=8, help="GPUs; 1 unless given.")] = None,
    disk: Annotated[
        int | None, typer.Option(min=10, max=6144, help="Disk in GB; 60 unless given.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what is for sale, cheapest first.

    Prices are for all GPUs together.
    """
    with open_client(ctx) as client:
        page = client.offers(
            product_name=product,
            region=region,
            billing_mode=billing,
            gpu_num=gpus,
            rootfs_size_gb=disk,
        )
    show(output, page.raw, lambda: format_table(_COLUMNS, page.items))
