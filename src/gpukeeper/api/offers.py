"""The routes that tell what an order can name: offers, templates, regions."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.api.context import NO_QUERY, NO_REPEATS, body_response, service_of
from gpukeeper.api.instances import NOVITA_PROBLEMS
from gpukeeper.api.openapi_responses import document_problems, document_success
from gpukeeper.api.params.queries import OffersQuery
from gpukeeper.contract.offers import (
    OfferList,
    Region,
    RegionList,
    Template,
    TemplateList,
    describe_offer,
)

router = APIRouter(tags=["offers"], dependencies=[NO_REPEATS])


@router.get(
    "/api/offers",
    operation_id="listOffers",
    summary="List what is for sale",
    responses=document_success(200, OfferList, "What is for sale.")
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
    return body_response(OfferList(tuple(map(describe_offer, offers))))


@router.get(
    "/api/templates",
    operation_id="listTemplates",
    summary="List templates",
    dependencies=[NO_QUERY],
    responses=document_success(200, TemplateList, "The templates.")
    | document_problems(*NOVITA_PROBLEMS),
)
async def list_templates(request: Request) -> Response:
    """Show the account's own templates, then Novita's; an order may name any by its id."""
    found = await service_of(request).templates()
    shown = tuple(Template(each.id, each.name, each.image_url) for each in found)
    return body_response(TemplateList(shown))


@router.get(
    "/api/regions",
    operation_id="listRegions",
    summary="List regions",
    dependencies=[NO_QUERY],
    responses=document_success(200, RegionList, "The regions.")
    | document_problems(*NOVITA_PROBLEMS),
)
async def list_regions(request: Request) -> Response:
    """Show Novita's regions by the names that orders give."""
    found = await service_of(request).regions()
    return body_response(RegionList(tuple(Region(each.region, each.id) for each in found)))
