"""Pages that change by themselves go on doing so, whatever happens to the connection."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Open, sign_in
from tests.browser.gate import Gate
from tests.e2e.novita import Novita
from tests.e2e.serving import Service
from tests.e2e.waiting import eventually


@pytest.fixture
def gate(service: Service) -> Iterator[Gate]:
    """Give a proxy in front of the service."""
    gate = Gate(service.url)
    yield gate
    gate.close()


def test_a_stream_that_a_proxy_refused_for_good_is_made_anew_and_nothing_is_missed(
    browser: Browser, service: Service, gate: Gate
) -> None:
    with browser.new_context(base_url=gate.url) as context:
        page = context.new_page()
        page.goto("/")
        sign_in(page)
        expect(page.locator("#live")).to_have_text("live")
        page.evaluate("window.isTheSamePage = true")

        gate.shut()
        expect(page.locator("#lost")).to_be_visible()
        # Refused with 502, which ends an EventSource for good, and asked for again all the same.
        eventually(lambda: len(_streams(gate)) >= 2, "the stream to be asked for again")
        service.running(name="ran-meanwhile")
        gate.open()

        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.get_by_role("row", name="ran-meanwhile")).to_contain_text("running")
        service.running(name="ran-afterwards")
        expect(page.get_by_role("row", name="ran-afterwards")).to_contain_text("running")
        # What the stream told, and not a refresh that was due anyway.
        expect(page.locator("#news")).to_contain_text("is running")
        assert page.evaluate("window.isTheSamePage")


def _streams(gate: Gate) -> list[str]:
    return [line for line in gate.refused if line.startswith("GET /api/events")]


def test_the_time_that_is_left_is_counted_down_between_two_looks(
    open_page: Open, service: Service, novita: Novita
) -> None:
    instance = service.running(name="soon-gone")
    novita.act(instance["novitaId"], "spot-notice", in_seconds=1_800)
    eventually(
        lambda: service.get(f"/api/instances/{instance['id']}?refresh=true").json()["reclaimAt"],
        "the notice",
    )
    page = open_page(f"/instances/{instance['id']}")
    left = page.locator("#reclaim [data-left]")
    expect(left).to_contain_text("min")

    # No look at the service may come between.
    page.route("**/instances/*", lambda route: None)
    left.evaluate("place => { place.dataset.left = '62'; }")
    expect(left).to_have_text("1 min")
    expect(left).to_have_text("59 s")
    page.get_by_role("link", name="Order a replacement").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("soon-gone")
