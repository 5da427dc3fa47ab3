"""The command that shows what is for sale."""

from typing import Annotated

import typer

from gpukeeper.cli.service_access import open_client
from gpukeeper.cli.terminal.output import Format, Output, hourly, show
from gpukeeper.cli.terminal.text_tables import Column, table
from gpukeeper.domain.products import BillingMode

_COLUMNS = (
    Column("PRODUCT ID", rank=5),
    Column("PRODUCT", narrowest=13),
    Column("REGION", rank=1),
    Column("BILLING", rank=4),
    Column("GPUS", rank=3, is_right=True),
    Column("USD/H", is_right=True),
    Column("STOCK", rank=2),
    Column("MAX DISK", rank=6, is_right=True),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(offers)


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
    rows = (
        (
            offer.product_id,
            offer.product_name,
            offer.region,
            offer.billing_mode,
            str(offer.gpu_num),
            hourly(offer.price_per_hour),
            offer.stock,
            f"{offer.max_rootfs_size} GB" if offer.max_rootfs_size else "",
        )
        for offer in page.items
    )
    show(output, page.raw, lambda: table(_COLUMNS, rows))
