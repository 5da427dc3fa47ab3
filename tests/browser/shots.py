"""Take the pictures of the documentation: `make shots` names this file, nothing else does."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from bench.history import write_history
from tests.browser.conftest import Open, sign_in
from tests.e2e.conftest import starter
from tests.e2e.novita import Novita
from tests.e2e.serving import Service

IMAGES = Path(__file__).parents[2] / "docs/images"
DESK = {"width": 1200, "height": 760}
TALL: ViewportSize = {"width": 1200, "height": 980}
PHONE = {"width": 360, "height": 740}

# Enough for a picture and no more: a page of documentation is read over slow lines, too.
_MOST_BYTES = 150_000


@pytest.fixture(scope="session")
def fleet(service: Service, novita: Novita) -> dict[str, str]:
    """Return the ids of a fleet in which something of everything happens, by name."""
    orders: dict[str, dict[str, Any]] = {
        "trainer-llama": {"labels": {"team": "research"}, "gpuNum": 4},
        "embedding-batch": {"productName": "RTX 3090 24GB"},
        "notebook-anna": {"productName": "RTX 4090D 24GB"},
        "render-node": {},
        "eval-h100": {"productName": "H100 SXM 80GB", "region": "US-CA-06"},
    }
    ids = {name: service.running(name=name, **each)["id"] for name, each in orders.items()}
    service.post(f"/api/instances/{ids['render-node']}/stop", json={})
    service.wait_for(ids["render-node"], "stopped")
    broken = service.order(name="finetune-bert", templateId="tpl-broken")
    service.wait_for(broken["id"], "failed")
    novita.fate("pull-forever")
    ids["coming-up"] = service.order(name="coming-up")["id"]
    service.wait_for(ids["coming-up"], "starting")
    return ids


@pytest.fixture
def yesterday(novita: Novita, tmp_path: Path) -> Iterator[Service]:
    """Give a service whose store has the history of a day."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    write_history(data_dir, 60, urls=("https://hooks.example/",))
    with ExitStack() as stack:
        yield starter(stack, tmp_path, novita)()


@pytest.mark.parametrize(
    ("name", "path", "theme", "size"),
    [
        ("fleet", "/", "light", DESK),
        ("fleet-dark", "/", "dark", DESK),
        ("fleet-phone", "/", "light", PHONE),
        (
            "order",
            "/order?name=trainer-2&templateId=tpl-basic&productName=RTX+4090+24GB",
            "light",
            DESK,
        ),
        ("instance", "/instances/{trainer-llama}", "light", DESK),
    ],
)
def test_a_picture_is_taken_and_is_small(
    open_page: Open, fleet: dict[str, str], name: str, path: str, theme: str, size: dict[str, int]
) -> None:
    page = open_page(color_scheme=theme, viewport=size)
    page.goto(path.format(**fleet))
    if "/order" not in path:
        expect(page.locator("#live")).to_have_text("live")
    take(page, name)


def test_a_picture_of_a_day_is_taken_and_is_small(browser: Browser, yesterday: Service) -> None:
    page = browser.new_page(base_url=yesterday.url, color_scheme="dark", viewport=TALL)
    page.goto("/trends?last=day")
    sign_in(page)
    expect(page.get_by_role("heading", name="Trends")).to_be_visible()
    take(page, "trends")


def take(page: Page, name: str) -> None:
    """Keep what is seen of a page."""
    picture = IMAGES / f"dashboard-{name}.png"
    page.screenshot(path=picture, animations="disabled")

    assert picture.stat().st_size < _MOST_BYTES
