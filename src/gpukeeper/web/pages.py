"""Pages for people: the API as the OpenAPI document has it, and the problems; without scripts."""

import json
import re
from collections.abc import Callable
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from gpukeeper.web.problems import KINDS

# Makes a document of its path, its title and the HTML below the title.
Frame = Callable[[str, str, str], str]

_REF_PREFIX = "#/components/schemas/"


def api_page(document: dict[str, Any], frame: Frame, *, root_path: str = "") -> HTMLResponse:
    """Return the OpenAPI document as a page to read, with the paths as callers see them."""
    operations = [
        (method, root_path + path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        _paragraphs(document["info"]["description"]),
        f"<p>For programs: <a href='{root_path}/openapi.json'>openapi.json</a>. "
        f"<a href='{root_path}/problems'>What problems mean</a>.</p>",
        "<h2>Routes</h2><table>",
        *(_summary(*each) for each in operations),
        "</table>",
        *(_operation(*each) for each in operations),
        "<h2>Bodies</h2>",
        *(_schema(*each) for each in document["components"]["schemas"].items()),
    ]
    title = f"{document['info']['title']} {document['info']['version']}: API"
    return HTMLResponse(frame("/docs", title, "".join(parts)))


def problems_page(frame: Frame) -> HTMLResponse:
    """Return what each problem means and what to do about it."""
    parts = (
        f"<h2 id='{_anchor(code)}'>{kind.title}</h2>"
        f"<p><code>{code}</code>, status {kind.status}. {_inline(kind.meaning)}</p>"
        f"<p>{_inline(kind.remedy)}</p>"
        for code, kind in KINDS.items()
    )
    return HTMLResponse(frame("/problems", "Problems", "".join(parts)))


def plain_frame(path: str, title: str, content: str) -> str:
    """Return a document without any looks, for an API that has no dashboard."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )


def _summary(method: str, path: str, operation: dict[str, Any]) -> str:
    return (
        f"<tr><td><a href='#{operation['operationId']}'><code>{method.upper()} {escape(path)}"
        f"</code></a></td><td>{escape(operation['summary'])}</td></tr>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    parts = [
        f"<h2 id='{operation['operationId']}'><code>{method.upper()} {escape(path)}</code></h2>",
        _paragraphs(operation.get("description", "")),
        "<table>",
        *map(_parameter, operation.get("parameters", ())),
        f"<tr><td>body</td><td>{_link(body['schema'])}</td></tr>" if body else "",
        *(_response(*each) for each in operation["responses"].items()),
        "</table>",
    ]
    return "".join(parts)


def _parameter(parameter: dict[str, Any]) -> str:
    need = "required" if parameter.get("required") else "optional"
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code></td>"
        f"<td>{parameter['in']}, {need}. {_inline(parameter.get('description', ''))}</td></tr>"
    )


def _response(status: str, response: dict[str, Any]) -> str:
    links = " ".join(_link(content["schema"]) for content in response.get("content", {}).values())
    return f"<tr><td>{status}</td><td>{_inline(response['description'])} {links}</td></tr>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2))
    return (
        f"<h3 id='body-{name}'>{name}</h3>"
        f"<details><summary>Schema</summary><pre tabindex='0'>{text}</pre></details>"
    )


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").removeprefix(_REF_PREFIX)
    return f"<a href='#body-{name}'>{name}</a>" if name else ""


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n"))


def _inline(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(code: str) -> str:
    return code.replace("_", "-")
