"""The routes under ``/api/orphans``."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from gpukeeper.api.context import NO_QUERY, NO_REPEATS, body_response, check_id, service_of
from gpukeeper.api.instances import NOVITA_PROBLEMS, new_instance_response
from gpukeeper.api.openapi_responses import LOCATION_HEADERS, document_problems, document_success
from gpukeeper.api.params.queries import AdoptionQuery
from gpukeeper.contract.instances import Instance
from gpukeeper.contract.orphans import OrphanList
from gpukeeper.web.body import NO_BODY

router = APIRouter(tags=["orphans"], dependencies=[NO_REPEATS])

NovitaId = Annotated[str, Path(alias="novitaId", description="Novita's id of the machine.")]


@router.get(
    "/api/orphans",
    operation_id="listOrphans",
    summary="List orphans",
    dependencies=[NO_QUERY],
    responses=document_success(200, OrphanList, "The orphans.") | document_problems(),
)
async def list_orphans(request: Request) -> Response:
    """Show machines at Novita that may be ours and that the store does not know.

    They carry this deployment's mark; or, `isForeign`, the mark of an older store.
    """
    return body_response(OrphanList(await service_of(request).orphans()))


@router.post(
    "/api/orphans/{novitaId}/adopt",
    operation_id="adoptOrphan",
    summary="Adopt an orphan",
    status_code=201,
    dependencies=[NO_BODY],
    responses=document_success(
        201, Instance, "The machine is an instance now.", headers=LOCATION_HEADERS
    )
    | document_problems(
        "instance_not_found",
        "foreign_machine",
        "body_too_large",
        "unsupported_media_type",
        *NOVITA_PROBLEMS,
    ),
)
async def adopt_orphan(
    request: Request, novita_id: NovitaId, query: Annotated[AdoptionQuery, Query()]
) -> Response:
    """Take an orphan in as an instance; with `foreign=true` any machine that nobody here knows."""
    adopted = await service_of(request).adopt(check_id(novita_id), is_any_meant=query.foreign)
    return new_instance_response(adopted, status=201)


@router.delete(
    "/api/orphans/{novitaId}",
    operation_id="deleteOrphan",
    summary="Delete an orphan",
    status_code=202,
    dependencies=[NO_QUERY, NO_BODY],
    responses=document_success(
        202, Instance, "The machine is adopted and being deleted.", headers=LOCATION_HEADERS
    )
    | document_problems(
        "instance_not_found",
        "foreign_machine",
        "wrong_status",
        "body_too_large",
        "unsupported_media_type",
    ),
)
async def delete_orphan(request: Request, novita_id: NovitaId) -> Response:
    """Adopt an orphan and delete it, so that it is followed until it is gone."""
    return new_instance_response(
        await service_of(request).delete_orphan(check_id(novita_id)), status=202
    )
