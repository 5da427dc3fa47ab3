"""Served under a path by a proxy: everything that a browser or a program follows stays below it."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from gpukeeper.client import Client
from gpukeeper.config.parsers import OWN_PATHS
from tests.dashboard.conftest import HOST, browsing, build_app
from tests.dashboard.pages import Page
from tests.dashboard.test_safety import PATHS
from tests.engine.rig import ORDER, Rig

KEY = "the-key-of-this-test"
ROOT = "/tools/gpu"

# How a proxy passes on a path that a browser asks for: as it is, or without the root path.
PROXIES: dict[str, Callable[[str], str]] = {
    "leaves it on": lambda path: path,
    "takes it off": lambda path: path.removeprefix(ROOT) or "/",
}


@pytest.fixture(params=PROXIES)
def passed_on(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return what a proxy makes of a path."""
    return PROXIES[request.param]


class _Proxy(httpx2.AsyncBaseTransport):
    """Serve nothing but what is below the root path, as a proxy does that serves others, too."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, passed_on: Callable[[str], str]) -> None:
        self._inner = inner
        self._passed_on = passed_on

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on."""
        path, _, query = request.url.raw_path.decode().partition("?")
        assert path == ROOT or path.startswith(f"{ROOT}/"), f"{path} has left the root path"
        target = self._passed_on(path) + (f"?{query}" if query else "")
        request.url = request.url.copy_with(raw_path=target.encode())
        return await self._inner.handle_async_request(request)


@asynccontextmanager
async def below(
    rig: Rig, passed_on: Callable[[str], str], *keys: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a browser in front of a proxy in front of the service."""
    app = build_app(rig, *keys, root_path=ROOT)
    async with browsing(app) as inner:
        transport = _Proxy(inner._transport, passed_on)
        async with httpx2.AsyncClient(
            transport=transport, base_url=HOST, headers={"accept": "text/html"}
        ) as http:
            yield http


def followed(page: Page) -> list[str]:
    """Return every address that a page names."""
    names = ("href", "src", "action", "data-events", "data-password")
    return [
        value
        for _, attributes in page._read.elements
        for name, value in attributes.items()
        if name in names and value and not value.startswith(("#", "https://", "http://"))
    ]


async def test_every_address_on_every_page_is_below_the_root_path(
    rig: Rig, passed_on: Callable[[str], str]
) -> None:
    running = await rig.running()
    pages = [*PATHS, f"/instances/{running.id}", f"/instances/{running.id}/delete", "/nowhere"]
    async with below(rig, passed_on) as http:
        for path in pages:
            page = Page(await http.get(ROOT + path))
            addresses = followed(page)
            assert len(addresses) > 5, path
            for address in addresses:
                assert re.match(rf"{ROOT}[/?]", address), (path, address)
            for asset in page.all("script") + page.all("img"):
                assert (await http.get(asset["src"])).status_code == 200


async def test_signing_in_and_out_stays_below_the_root_path(
    rig: Rig, passed_on: Callable[[str], str]
) -> None:
    async with below(rig, passed_on, KEY) as http:
        asked = await http.get(f"{ROOT}/trends?last=week")
        assert asked.headers["location"] == f"{ROOT}/login?next={ROOT}/trends%3Flast%3Dweek"
        page = Page(await http.get(asked.headers["location"]))
        assert page.actions == [f"{ROOT}/login"]
        form = {"key": KEY, "next": page.value("next")}
        entered = await http.post(f"{ROOT}/login", data=form, headers={"origin": HOST})

        assert entered.headers["location"] == f"{ROOT}/trends?last=week"
        assert f"Path={ROOT};" in entered.headers["set-cookie"]
        assert (await http.get(entered.headers["location"])).status_code == 200
        left = await http.post(f"{ROOT}/logout", headers={"origin": HOST})
        assert left.headers["location"] == f"{ROOT}/login"
        assert f"Path={ROOT};" in left.headers["set-cookie"]


async def test_a_form_whose_session_has_ended_leads_back_to_its_page(
    rig: Rig, passed_on: Callable[[str], str]
) -> None:
    async with below(rig, passed_on, KEY) as http:
        form = {"referer": f"{HOST}{ROOT}/deliveries?status=exhausted", "origin": HOST}
        sent = await http.post(f"{ROOT}/deliveries/test", headers=form)
        assert sent.headers["location"].endswith(f"next={ROOT}/deliveries%3Fstatus%3Dexhausted")
        foreign = await http.post(f"{ROOT}/deliveries/test", headers={"referer": f"{HOST}/other"})
        assert foreign.headers["location"] == f"{ROOT}/login?next={ROOT}/"


@pytest.mark.parametrize(
    "place",
    [
        f"{ROOT}//evil.example/",
        f"{ROOT}///evil.example/",
        f"{ROOT}/\\evil.example/",
        f"{ROOT}evil",
        "//evil.example/",
        "https://evil.example/",
        f"https://evil.example{ROOT}/",
        f"{ROOT}/../other",
        f"{ROOT}/%2e%2E/other",
        f"{ROOT}/login",
    ],
)
async def test_signing_in_leads_nowhere_else_under_a_root_path_either(
    rig: Rig, passed_on: Callable[[str], str], place: str
) -> None:
    async with below(rig, passed_on, KEY) as http:
        form = {"key": KEY, "next": place}
        entered = await http.post(f"{ROOT}/login", data=form, headers={"origin": HOST})
    # The last part of a name that begins like the root path is a path of ours that does not exist.
    assert entered.headers["location"] in {f"{ROOT}/", f"{ROOT}{ROOT}evil"}


async def test_orders_problems_and_the_document_name_addresses_below_the_root_path(
    rig: Rig, passed_on: Callable[[str], str]
) -> None:
    program = {"accept": "application/json"}
    order = {"name": "a", "productName": ORDER.product_name, "templateId": ORDER.template_id}
    async with below(rig, passed_on) as http:
        missing = (await http.get(f"{ROOT}/api/instances/none", headers=program)).json()
        assert missing["instance"] == f"{ROOT}/api/instances/none"
        assert missing["type"] == f"{ROOT}/problems#instance-not-found"
        document = (await http.get(f"{ROOT}/openapi.json", headers=program)).json()
        assert document["servers"] == [{"url": ROOT}]
        assert "/api/instances" in document["paths"]
        placed = await http.post(f"{ROOT}/api/instances", json=order, headers=program)
        assert placed.headers["location"] == f"{ROOT}/api/instances/{placed.json()['id']}"
        assert (await http.get(placed.headers["location"], headers=program)).status_code == 200


async def test_a_form_leads_to_its_instance_below_the_root_path(
    rig: Rig, passed_on: Callable[[str], str]
) -> None:
    running = await rig.running()
    async with below(rig, passed_on) as http:
        path = f"{ROOT}/instances/{running.id}"
        stopped = await http.post(f"{path}/stop", data={"a": "b"}, headers={"origin": HOST})
    assert stopped.headers["location"] == path


@pytest.mark.parametrize("base", [f"http://service{ROOT}", f"http://service{ROOT}/"])
def test_the_client_keeps_the_path_of_its_address(base: str) -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"instances": [], "total": 0, "nextCursor": None})

    options: dict[str, Any] = {"transport": httpx2.MockTransport(answer)}
    with Client(base, **options) as client:
        client.instances()
    assert asked == [f"{ROOT}/api/instances"]


async def test_a_root_path_is_refused_that_could_be_taken_for_a_path_of_the_service(
    rig: Rig,
) -> None:
    app = build_app(rig)
    included = [getattr(route, "original_router", None) for route in app.routes]
    routes = [*app.routes, *(route for router in included if router for route in router.routes)]
    paths = [getattr(route, "path", "/") for route in routes]
    found = {path.split("/")[1] for path in paths} - {""}
    assert {"api", "login", "order", "docs"} <= found
    assert found <= OWN_PATHS
