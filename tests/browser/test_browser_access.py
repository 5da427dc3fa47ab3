"""Everyone can read the pages: in both themes, on a phone, by keyboard and by screen reader."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has none
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, sign_in
from tests.e2e.novita import Novita
from tests.e2e.serving import Service

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}


def serious(page: Page) -> list[Any]:
    """Return what axe finds serious or critical, with the elements that it is about."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


def check(page: Page) -> None:
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_page_is_readable_for_everyone(
    open_page: Open, service: Service, novita: Novita, theme: str, size: dict[str, int]
) -> None:
    running = service.running(name=f"shown-on-{theme}-{size['width']}", labels={"team": "x"})
    novita.fate("no-balance")
    failing = service.try_order(name="without-money").json()
    page = open_page("/", is_signed_in=False, color_scheme=theme, viewport=size)
    check(page)
    sign_in(page)
    delivery = service.get("/api/deliveries").json()["deliveries"][0]["id"]

    for path in (
        *("/", "/order", "/deliveries", "/orphans", "/trends?last=hour", "/status"),
        *("/docs", "/problems"),
        f"/instances/{running['id']}",
        f"/instances/{running['id']}/delete",
        f"/instances/{running['id']}/connection",
        f"/instances/{failing['instanceId']}",
        f"/deliveries/{delivery}",
    ):
        page.goto(path)
        expect(page.locator("h1")).to_have_count(1)
        check(page)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_faults_and_the_dialog_are_readable_too(
    open_page: Open, service: Service, size: dict[str, int]
) -> None:
    running = service.running(name="asked-about")
    page = open_page("/order", viewport=size)
    page.locator("summary", has_text="More:").click()
    page.locator("#order").get_by_role("button", name="Order").click()
    expect(page.get_by_role("alert")).to_be_visible()
    check(page)

    page.goto(f"/instances/{running['id']}")
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page)


def test_the_keyboard_is_enough(open_page: Open, service: Service) -> None:
    running = service.running(name="by-keyboard")
    page = open_page(f"/instances/{running['id']}")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Stop")).to_be_focused()
