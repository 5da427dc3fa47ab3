"""The routes that tell what an order can name: offers, templates, regions."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gpukeeper.api import schemas
from gpukeeper.api.context import NO_QUERY, NO_REPEATS, service_of
from gpukeeper.api.instances import NOVITA_PROBLEMS
from gpukeeper.api.openapi_responses import document_problems, document_success
from gpukeeper.api.params.queries import OffersQuery
from gpukeeper.domain.events import format_money
from gpukeeper.domain.products import Offer

router = APIRouter(tags=["offers"], dependencies=[NO_REPEATS])


@router.get(
    "/api/offers",
    operation_id="listOffers",
    summary="List what is for sale",
    responses=document_success(200, schemas.OfferList, "What is for sale.")
    | document_problems("product_not_found", "region_not_found", *NOVITA_PROBLEMS),
)
async def list_offers(request: Request, query: Annotated[OffersQuery, Query()]) -> Response:
    """Show what Novita sells at the moment, cheapest first: the first is what an order buys."""
    offers = await service_of(request).offers(
        product_name=query.product_name,
        region=query.region,
        billing_mode=query.billing_mode,
        gpu_num=query.gpu_num,
        rootfs_size_gb=query.rootfs_size,
    )
    return JSONResponse({"offers": list(map(_body, offers))})


@router.get(
    "/api/templates",
    operation_id="listTemplates",
    summary="List templates",
    dependencies=[NO_QUERY],
    responses=document_success(200, schemas.TemplateList, "The templates.")
    | document_problems(*NOVITA_PROBLEMS),
)
async def list_templates(request: Request) -> Response:
    """Show the account's own templates, then Novita's; an order may name any by its id."""
    found = await service_of(request).templates()
    return JSONResponse(
        {
            "templates": [
                {"id": each.id, "name": each.name, "imageUrl": each.image_url} for each in found
            ]
        }
    )


@router.get(
    "/api/regions",
    operation_id="listRegions",
    summary="List regions",
    dependencies=[NO_QUERY],
    responses=document_success(200, schemas.RegionList, "The regions.")
    | document_problems(*NOVITA_PROBLEMS),
)
async def list_regions(request: Request) -> Response:
    """Show Novita's regions by the names that orders give."""
    found = await service_of(request).regions()
    return JSONResponse(
        {"regions": [{"name": each.region, "clusterId": each.id} for each in found]}
    )


def _body(offer: Offer) -> dict[str, Any]:
    return {
        "productId": offer.product_id,
        "productName": offer.product_name,
        "region": offer.region,
        "clusterId": offer.cluster_id,
        "billingMode": offer.billing_mode.value,
        "gpuNum": offer.gpu_num,
        "pricePerHour": format_money(offer.price_per_hour),
        "currency": "USD",
        "stock": offer.stock,
        "maxRootfsSize": offer.max_disk_gb,
    }
