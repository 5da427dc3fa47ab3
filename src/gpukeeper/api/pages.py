"""Pages for people: the API as the OpenAPI document has it, and the problems; without scripts."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

from starlette.responses import HTMLResponse

from gpukeeper.api.problems import KINDS

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f1; border-radius: 4px; }
code { padding: 1px 4px; } pre { padding: 12px; overflow-x: auto; }
h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
table { border-collapse: collapse; width: 100%; } a { color: #0b57d0; }
th, td { text-align: left; vertical-align: top; padding: 4px 12px 4px 0; }
th { border-bottom: 1px solid #ddd; }
label { display: block; }
input, button { font: inherit; padding: 6px 10px; max-width: 100%; box-sizing: border-box; }
input { width: 30rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e6; background: #161616; } code, pre { background: #262626; }
  h2, th { border-color: #444; } a { color: #8ab4f8; } }
"""

# Only this style and nothing else: no script, no image, no frame.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
    "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_REF_PREFIX = "#/components/schemas/"


def api_page(document: dict[str, Any]) -> HTMLResponse:
    """Return the OpenAPI document as a page to read."""
    operations = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        _paragraphs(document["info"]["description"]),
        "<p>For programs: <a href='/openapi.json'>openapi.json</a>. "
        "<a href='/problems'>What problems mean</a>.</p>",
        "<h2>Routes</h2><table>",
        *(_summary(*each) for each in operations),
        "</table>",
        *(_operation(*each) for each in operations),
        "<h2>Bodies</h2>",
        *(_schema(*each) for each in document["components"]["schemas"].items()),
    ]
    return page(f"{document['info']['title']} {document['info']['version']}: API", parts)


def problems_page() -> HTMLResponse:
    """Return what each problem means and what to do about it."""
    parts = (
        f"<h2 id='{_anchor(code)}'>{kind.title}</h2>"
        f"<p><code>{code}</code>, status {kind.status}. {_inline(kind.meaning)}</p>"
        f"<p>{_inline(kind.remedy)}</p>"
        for code, kind in KINDS.items()
    )
    return page("gpukeeper: problems", list(parts))


def page(
    title: str, parts: list[str], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    """Return a page of these pieces of HTML."""
    return HTMLResponse(
        "".join(_html(title, parts)),
        status,
        headers={"Content-Security-Policy": _POLICY, **(headers or {})},
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
    return f"<h3 id='body-{name}'>{name}</h3><details><pre>{text}</pre></details>"


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").removeprefix(_REF_PREFIX)
    return f"<a href='#body-{name}'>{name}</a>" if name else ""


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n"))


def _inline(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(code: str) -> str:
    return code.replace("_", "-")


def _html(title: str, parts: list[str]) -> Iterator[str]:
    yield "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
    yield "<meta name='viewport' content='width=device-width'>"
    yield f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
    yield f"<body><main><h1>{escape(title)}</h1>"
    yield from parts
    yield "</main></body></html>"
