"""What people do at the dashboard, in a real browser: from signing in to deleting a machine."""

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Open, sign_in
from tests.e2e.receiver import Receiver
from tests.e2e.serving import ORDER, Service


def order(page: Page, name: str) -> None:
    """Fill the form in and send it."""
    page.goto("/order")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Template", exact=True).select_option("tpl-basic")
    page.get_by_role("radio", name=ORDER["productName"]).check()
    page.locator("#order").get_by_role("button", name="Order").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def status_of(page: Page, word: str) -> None:
    expect(page.locator("#status")).to_have_text(word)


def test_whoever_is_not_signed_in_is_asked_for_a_key_and_comes_back(open_page: Open) -> None:
    page = open_page("/trends?last=week", is_signed_in=False)
    assert "/login" in page.url

    sign_in(page)
    expect(page.get_by_role("heading", name="Trends")).to_be_visible()
    assert page.url.endswith("/trends?last=week")

    page.get_by_role("button", name="Log out").click()
    page.goto("/")
    assert "/login" in page.url


def test_an_order_is_seen_to_run_and_to_be_announced_without_a_reload(
    open_page: Open, receiver: Receiver
) -> None:
    page = open_page()
    order(page, "watched")
    page.evaluate("window.isTheSamePage = true")

    status_of(page, "running")
    expect(page.locator("#deliveries li", has_text="instance.running")).to_contain_text("delivered")
    expect(page.locator("#connection")).to_contain_text("ssh -p")
    expect(page.locator("#steps li")).to_have_count(4)
    assert page.evaluate("window.isTheSamePage")


def test_the_fleet_changes_by_itself_when_others_order(open_page: Open, service: Service) -> None:
    page = open_page()
    expect(page.locator("#live")).to_have_text("live")
    page.evaluate("window.isTheSamePage = true")

    service.order(name="from-elsewhere")

    row = page.get_by_role("row", name="from-elsewhere")
    expect(row).to_contain_text("running")
    expect(page.locator("#news")).to_contain_text("is running")
    assert page.evaluate("window.isTheSamePage")


def test_a_delivery_that_failed_is_sent_again(
    open_page: Open, service: Service, receiver: Receiver
) -> None:
    receiver.answer = lambda request: 500
    service.running(name="unheard")
    page = open_page("/deliveries?status=exhausted")
    page.get_by_role("row", name="unheard").get_by_role("link", name="instance.created").click()
    status_of(page, "exhausted")
    expect(page.locator("#rows tr")).to_have_count(4)

    receiver.answer = lambda request: 204
    page.get_by_role("button", name="Redeliver").click()

    status_of(page, "delivered")
    expect(page.locator("#rows tr")).to_have_count(5)


def test_a_test_event_arrives(open_page: Open, receiver: Receiver) -> None:
    page = open_page("/deliveries")

    page.get_by_role("button", name="Send a test event").click()

    expect(page.get_by_role("heading", name="webhook.test")).to_be_visible()
    status_of(page, "delivered")


def test_a_machine_is_stopped_started_and_deleted_after_asking_back(
    open_page: Open, service: Service
) -> None:
    instance = service.running(name="short-lived")
    page = open_page(f"/instances/{instance['id']}")
    dialog = page.get_by_role("dialog")

    page.get_by_role("link", name="Stop").click()
    expect(dialog).to_contain_text("Stop \N{LEFT SINGLE QUOTATION MARK}short-lived")
    expect(dialog).to_contain_text("Its disk stays")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    status_of(page, "running")

    page.get_by_role("link", name="Stop").click()
    dialog.get_by_role("button", name="Stop short-lived").click()
    status_of(page, "stopped")

    page.get_by_role("link", name="Start", exact=True).click()
    dialog.get_by_role("button", name="Start short-lived").click()
    status_of(page, "running")

    page.get_by_role("link", name="Delete").click()
    expect(dialog).to_contain_text("lost for good")
    dialog.get_by_role("button", name="Delete short-lived").click()
    status_of(page, "deleted")
    expect(page.locator("#verbs a")).to_have_count(0)


def test_faults_stand_at_their_fields_and_nothing_is_ordered(
    open_page: Open, service: Service
) -> None:
    before = service.get("/api/instances").json()["total"]
    page = open_page("/order")
    page.get_by_label("Name", exact=True).fill("not a name")
    page.locator("summary", has_text="More:").click()
    page.get_by_label("Environment").fill("A")
    page.locator("#order").get_by_role("button", name="Order").click()

    expect(page.get_by_role("alert")).to_be_focused()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_accessible_description(
        "must be 1 to 48 letters, digits or hyphens 1 to 48 letters, digits or hyphens"
    )
    expect(name).to_have_value("not a name")
    expect(page.get_by_label("Environment")).to_be_visible()
    expect(page.locator("#fault-envs")).to_have_text("must have a '=' in line 1")
    assert service.get("/api/instances").json()["total"] == before


def test_prices_follow_the_region_and_the_estimate_the_product(open_page: Open) -> None:
    page = open_page("/order")
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_role("radio", name="RTX 3090 24GB").check()
    expect(page.locator("#estimate")).to_have_text(
        "About $0.105 per hour, $2.52 a day while it runs"
    )

    page.get_by_label("GPUs").fill("2")
    page.get_by_label("GPUs").press("Tab")
    expect(page.locator("#estimate")).to_contain_text("$0.210 per hour")
    page.get_by_label("Region", exact=True).select_option("US-CA-06")
    expect(page.get_by_role("radio", name="H100 SXM 80GB")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("kept")


def test_a_choice_stays_with_its_product_when_the_offers_change(open_page: Open) -> None:
    page = open_page("/order")
    page.get_by_role("radio", name="RTX 3090 24GB").check()
    region = page.get_by_label("Region", exact=True)

    # Here that product is not sold, and others stand in its place.
    region.select_option("AS-SGP-02")
    expect(page.locator(".also").first).to_contain_text("AS-SGP-02")
    expect(page.locator("#offers input:checked")).to_have_count(0)
    expect(page.locator("#estimate")).to_have_text("Choose a product to see what it costs")

    page.get_by_role("radio", name="RTX 4090 24GB").check()
    region.select_option("CN-HK-01")
    expect(page.locator(".also").first).to_contain_text("CN-HK-01")
    expect(page.locator("#offers input:checked")).to_have_value("RTX 4090 24GB")
    expect(page.locator("#estimate")).to_contain_text("$0.175 per hour")


def test_a_double_click_orders_once(open_page: Open, service: Service) -> None:
    page = open_page("/order")
    page.get_by_label("Name", exact=True).fill("once-only")
    page.get_by_label("Template", exact=True).select_option("tpl-basic")
    page.get_by_role("radio", name=ORDER["productName"]).check()
    page.locator("#order").get_by_role("button", name="Order").dblclick()

    expect(page.get_by_role("heading", name="once-only")).to_be_visible()
    assert service.get("/api/instances?name=once-only").json()["total"] == 1


def test_the_password_is_shown_when_it_is_asked_for_and_can_be_copied(
    open_page: Open, service: Service
) -> None:
    instance = service.running(name="secretive")
    connection = service.get(f"/api/instances/{instance['id']}/connection").json()
    page = open_page(
        f"/instances/{instance['id']}", permissions=["clipboard-read", "clipboard-write"]
    )
    assert connection["sshPassword"] not in page.content()

    page.get_by_role("link", name="Show the password").click()
    expect(page.locator("#connection")).to_contain_text(connection["sshPassword"])
    page.get_by_role("button", name="Copy the password").click()
    expect(page.locator("#news")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == connection["sshPassword"]


def test_a_lost_connection_is_seen_and_what_failed_can_be_tried_again(
    browser: Browser, service: Service
) -> None:
    instance = service.running(name="cut-off")
    with browser.new_context(base_url=service.url) as context:
        page = context.new_page()
        page.goto(f"/instances/{instance['id']}")
        sign_in(page)
        show = page.get_by_role("link", name="Show the password")

        page.route("**/connection", lambda route: route.abort())
        show.click()
        expect(page.locator("#connection")).to_contain_text("The service did not answer.")
        page.unroute("**/connection")
        show.click()
        expect(page.get_by_role("button", name="Copy the password")).to_be_visible()

        page.route("**/instances/**", lambda route: route.abort())
        look_again = "document.dispatchEvent(new Event('visibilitychange'))"
        page.evaluate(look_again)
        expect(page.locator("#lost")).to_be_visible()
        page.unroute("**/instances/**")
        page.evaluate(look_again)
        expect(page.locator("#lost")).to_be_hidden()


def test_without_scripts_everything_can_be_done(open_page: Open, service: Service) -> None:
    page = open_page(java_script_enabled=False)
    order(page, "unscripted")
    (ordered,) = service.get("/api/instances?name=unscripted").json()["instances"]
    service.wait_for(ordered["id"], "running")

    page.reload()
    status_of(page, "running")
    page.get_by_role("link", name="Show the password").click()
    expect(page.get_by_text("Asked of Novita just now.")).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", name="unscripted")).to_be_visible()
    page.get_by_role("button", name="Delete unscripted").click()
    expect(page.locator("#status")).to_have_text("deleting")
