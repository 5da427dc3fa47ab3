"""What the pages never do: show a secret, run what others wrote, or change what was not asked."""

import re
from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest

from gpukeeper.domain.instances import Attempt, Reason, Status
from gpukeeper.domain.machines import Endpoint
from tests.dashboard.conftest import HOST, Dashboard, browsing, build_app
from tests.dashboard.pages import Page
from tests.engine.rig import Rig
from tests.instances import edit

PATHS = (
    *("/", "/order", "/deliveries", "/orphans", "/trends", "/trends?last=week", "/status"),
    *("/docs", "/problems"),
)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_works_without_scripts_and_has_nothing_inline(
    dashboard: Dashboard, path: str
) -> None:
    page = await dashboard.get(path)

    assert [set(script) for script in page.all("script")] == [{"type", "src"}]
    assert page.all("style") == []
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page.html)
    policy = page.response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.all("main", id="main")


async def test_nothing_that_others_wrote_becomes_part_of_a_page(dashboard: Dashboard) -> None:
    ordered = await dashboard.rig.order()
    at = dashboard.rig.clock()
    await dashboard.change(
        ordered.id,
        lambda row: edit(
            row,
            status=Status.RUNNING,
            order=replace(row.order, name=HOSTILE, labels={HOSTILE: HOSTILE}),
            reason=Reason("x", HOSTILE),
            product_name=HOSTILE,
            region=HOSTILE,
            image_url=HOSTILE,
            ssh_command=HOSTILE,
            novita_status=HOSTILE,
            endpoints=(Endpoint(1, "http", f"javascript:{HOSTILE}"),),
            attempts=(Attempt(HOSTILE, HOSTILE, Decimal(1), "no", HOSTILE, at),),
        ),
    )

    for path in ("/", f"/instances/{ordered.id}", f"/instances/{ordered.id}/delete", "/trends"):
        page = await dashboard.get(path)
        assert "onerror=" not in {name for image in page.all("img") for name in image}
        assert len(page.all("script")) == 1, path
        assert page.all("img", src="x") == [], path
        assert not any(link.startswith("javascript:") for link in page.links), path
    assert HOSTILE in page.text or HOSTILE in (await dashboard.get("/")).text


async def test_what_was_typed_into_a_filter_or_a_form_comes_back_as_text(
    dashboard: Dashboard,
) -> None:
    found = await dashboard.get(f"/?name={httpx2.QueryParams({'n': HOSTILE})['n']}")
    assert found.value("name") == HOSTILE

    again = await dashboard.post("/order", status=400, name=HOSTILE, envs=HOSTILE)
    assert again.value("name") == HOSTILE
    assert len(again.all("script")) == 1


async def test_no_page_but_the_connection_shows_the_password(dashboard: Dashboard) -> None:
    running = await dashboard.rig.running(envs={"TOKEN": "canary-value"})
    password = (await dashboard.rig.service.connection(running.id)).ssh_password
    assert password

    pages = [*PATHS, f"/instances/{running.id}", f"/instances/{running.id}/stop"]
    for path in pages:
        html = (await dashboard.get(path)).html
        assert password not in html, path
        assert "canary-value" not in html, path
    connection = await dashboard.get(f"/instances/{running.id}/connection")
    assert f"Password {password}" in connection.text
    assert connection.response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
async def test_with_keys_every_page_asks_to_sign_in_first(rig: Rig, path: str) -> None:
    async with browsing(build_app(rig, "the-key-of-this-test")) as http:
        answer = await http.get(path)

        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/login?next=")


async def test_the_login_looks_like_the_dashboard_and_leads_nowhere_else(rig: Rig) -> None:
    async with browsing(build_app(rig, "the-key-of-this-test")) as http:
        page = Page(await http.get("/login?next=/trends"))

        assert page.all("header", class_="top")
        assert page.all("link", rel="stylesheet")
        assert page.links == ["#main", "/"]
        assert page.actions == ["/login"]
        assert page.value("next") == "/trends"


async def test_whoever_has_signed_in_sees_the_fleet_and_can_log_out(rig: Rig) -> None:
    async with browsing(build_app(rig, "the-key-of-this-test")) as http:
        form = {"key": "the-key-of-this-test", "next": "/trends"}
        entered = await http.post("/login", data=form, headers={"origin": HOST})
        assert entered.headers["location"] == "/trends"

        fleet = Page(await http.get("/"))
        assert "No instance yet." in fleet.text
        assert "/logout" in fleet.actions


async def test_without_keys_there_is_nothing_to_log_out_of(dashboard: Dashboard) -> None:
    assert "/logout" not in (await dashboard.get("/")).actions


@pytest.mark.parametrize(
    ("origin", "status"), [("https://evil.example", 401), ("null", 401), (None, 415)]
)
async def test_a_form_that_another_page_has_sent_changes_nothing(
    dashboard: Dashboard, origin: str | None, status: int
) -> None:
    running = await dashboard.rig.running()
    headers = {} if origin is None else {"origin": origin}

    answer = await dashboard.http.post(
        f"/instances/{running.id}/delete", data={"x": "y"}, headers=headers
    )

    assert answer.status_code == status
    assert (await dashboard.rig.find(running.id)).status is Status.RUNNING


async def test_static_files_need_no_key_and_may_be_kept_for_ever(rig: Rig) -> None:
    async with browsing(build_app(rig, "the-key-of-this-test")) as http:
        style = await http.get("/static/dashboard.css")
        script = await http.get("/static/dashboard.js")

        assert style.headers["content-type"].startswith("text/css")
        assert "javascript" in script.headers["content-type"]
        assert "immutable" in style.headers["cache-control"]
        assert (await http.get("/static/pages.py")).status_code == 404


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("/instances/ins_nobody", "/?view=all"),
        ("/instances/ins_nobody/delete", "/?view=all"),
        ("/instances/ins_nobody/connection", "/?view=all"),
        ("/instances/a%00b", "/?view=all"),
        ("/deliveries/dlv_nobody", "/deliveries"),
        ("/deliveries?status=nonsense", "/deliveries"),
        ("/orphans/nobody/adopt", "/orphans"),
        ("/orphans/nobody/nonsense", "/orphans"),
        ("/deliveries/dlv_nobody/redeliver", "/deliveries"),
        ("/nobody/was/here", "/"),
    ],
)
async def test_what_does_not_exist_is_a_page_that_says_so_once_and_leads_on(
    dashboard: Dashboard, path: str, way: str
) -> None:
    page = await dashboard.get(path, status=404)

    assert page.response.headers["content-type"].startswith("text/html")
    said = page.text.partition("Order")[2].partition("gpukeeper 0.1.0")[0]
    assert said.count("There is no") == 1, said
    assert "GET /" not in said
    assert page.all("a", class_="button")[-1]["href"] == way


@pytest.mark.parametrize("path", ["/api/nobody", "/static/nobody/nowhere"])
async def test_what_programs_ask_for_is_refused_with_a_problem(
    dashboard: Dashboard, path: str
) -> None:
    answer = await dashboard.http.get(path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
