"""Check that an answer is what the OpenAPI document says of its route."""

import re
from datetime import datetime
from typing import Any

import httpx2

Json = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults_in_answer(document: Json, response: httpx2.Response) -> list[str]:
    """Return how an answer differs from the document; routes outside of it are passed over."""
    found = operation_of(document, response.request)
    if found is None:
        return []
    template, operation = found
    name = f"{response.request.method} {template}"
    if str(response.status_code) not in operation["responses"]:
        return [f"{name} answered {response.status_code}, which is not documented"]
    shown = operation["responses"][str(response.status_code)]
    media_type = response.headers["content-type"].partition(";")[0]
    if media_type not in shown["content"]:
        return [f"{name} answered {response.status_code} as {media_type}"]
    faults = [
        f"{name}: the header {header} is not documented"
        for header in ("location", "retry-after", "warning", "www-authenticate")
        if header in response.headers
        and header not in {h.lower() for h in shown.get("headers", {})}
    ]
    if media_type == "text/plain":
        return faults
    schema = shown["content"][media_type]["schema"]
    faults += [f"{name} {fault}" for fault in faults_in_value(document, schema, response.json())]
    codes = shown["content"][media_type].get("examples")
    if codes is not None and response.json()["code"] not in codes:
        faults.append(f"{name}: the code {response.json()['code']} is not documented")
    return faults


def operation_of(document: Json, request: httpx2.Request) -> tuple[str, Json] | None:
    """Return the template and the description of the route that a request goes to."""
    for template, operations in document["paths"].items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        path = request.url.raw_path.decode().partition("?")[0]
        if re.fullmatch(pattern, path) and request.method.lower() in operations:
            return template, operations[request.method.lower()]
    return None


def faults_in_value(document: Json, schema: Json, value: Any, at: str = "$") -> list[str]:
    """Return how a value differs from a schema; a property that is not named is a fault, too."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return faults_in_value(document, document["components"]["schemas"][name], value, at)
    if "anyOf" in schema:
        tries = [faults_in_value(document, each, value, at) for each in schema["anyOf"]]
        return min(tries, key=len)
    if "const" in schema or "enum" in schema:
        allowed = [schema["const"]] if "const" in schema else schema["enum"]
        return [] if value in allowed else [f"{at}: {value!r} is none of {allowed}"]
    expected = schema.get("type")
    is_bool_as_number = isinstance(value, bool) and expected in ("integer", "number")
    if expected and (not isinstance(value, _TYPES[expected]) or is_bool_as_number):
        return [f"{at}: {value!r} is no {expected}"]
    if isinstance(value, dict):
        return _faults_in_object(document, schema, value, at)
    if isinstance(value, list):
        return [
            fault
            for index, item in enumerate(value)
            for fault in faults_in_value(document, schema.get("items", {}), item, f"{at}[{index}]")
        ]
    return _faults_in_text(schema, value, at) if isinstance(value, str) else []


def _faults_in_object(document: Json, schema: Json, value: Json, at: str) -> list[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", False)
    faults = [
        f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value
    ]
    for name, item in value.items():
        if name in properties:
            faults += faults_in_value(document, properties[name], item, f"{at}.{name}")
        elif others is False:
            faults.append(f"{at}: {name} is not documented")
        elif isinstance(others, dict):
            faults += faults_in_value(document, others, item, f"{at}.{name}")
    return faults


def _faults_in_text(schema: Json, value: str, at: str) -> list[str]:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{at}: {value!r} does not match {schema['pattern']}"]
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        return [f"{at}: {value!r} has no time zone"]
    return []
