"""Make the OpenAPI document true: what FastAPI cannot know is added, what is not so is removed."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from gpukeeper.api.openapi_responses import REF
from gpukeeper.api.params.orders import OrderBody
from gpukeeper.contract import (
    deliveries,
    events,
    health,
    instances,
    offers,
    orphans,
    problems,
)
from gpukeeper.web.middleware import HEALTH_PATHS

_DESCRIPTION = """Orders, starts, watches and announces GPU instances at Novita.ai.

Bodies are JSON in camelCase, times RFC 3339 in UTC, prices US dollars per hour for all GPUs
together. Whatever does not succeed is answered with a problem (RFC 9457); `code` is the word to
branch on. Unknown fields and parameters are refused. Every answer carries `X-Request-Id`, which
finds the request in the log; a caller may choose it."""

_KEY = "key"

_REQUEST_ID = "RequestId"

# FastAPI's own errors, and what is text on the wire.
_NEVER_SENT = frozenset({"HTTPValidationError", "ValidationError", "Port"})


_BODIES: tuple[type[Any], ...] = (
    OrderBody,
    instances.Instance,
    instances.InstanceList,
    instances.Connection,
    events.EventList,
    offers.OfferList,
    offers.TemplateList,
    offers.RegionList,
    deliveries.Delivery,
    deliveries.DeliveryList,
    deliveries.TestDeliveries,
    orphans.OrphanList,
    health.Live,
    health.Ready,
    health.Health,
    problems.Problem,
)


def build_openapi(app: FastAPI, *, root_path: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of an application; its paths are below ``root_path``."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": root_path}] if root_path else None,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _correct(operation, needs_key=path not in HEALTH_PATHS)
    _, definitions = TypeAdapter.json_schemas(
        [(kind.__name__, "validation", TypeAdapter(kind)) for kind in _BODIES],
        ref_template=REF,
    )
    components = document.setdefault("components", {})
    schemas = components.get("schemas", {}) | definitions["$defs"]
    components["schemas"] = {
        name: _without_titles(schema)
        for name, schema in sorted(schemas.items())
        if name not in _NEVER_SENT
    }
    components["headers"] = {
        _REQUEST_ID: {
            "description": "The id of this request in the log and in problems.",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
        }
    }
    components["securitySchemes"] = {
        _KEY: {
            "type": "http",
            "scheme": "bearer",
            "description": "One of GPUKEEPER_API_KEYS; not needed from this machine when none is "
            "configured.",
        }
    }
    return document


def _correct(operation: dict[str, Any], *, needs_key: bool) -> None:
    operation["responses"].pop("422", None)
    for response in operation["responses"].values():
        shown = {"$ref": f"#/components/headers/{_REQUEST_ID}"}
        # Routes share the objects that describe their headers.
        response["headers"] = {**response.get("headers", {}), "X-Request-Id": shown}
    operation["security"] = [{_KEY: []}] if needs_key else []
    for parameter in operation.get("parameters", ()):
        schema = _without_titles(parameter["schema"])
        schema.pop("description", None)
        # A parameter is text or missing, and never null.
        kinds = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
        parameter["schema"] = schema | (kinds[0] if kinds else {})
        if parameter["in"] == "query":
            parameter["allowEmptyValue"] = True


def _without_titles(schema: Any) -> Any:
    """Remove the titles that are made from names and say nothing more than these."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _without_titles(value)
        for name, value in schema.items()
        if name != "title" or not isinstance(value, str)
    }
