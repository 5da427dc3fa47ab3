"""The service as a process, and the Chromium of this machine in front of it.

Every page that a test opens is watched: whatever it writes to its console as an error, and
whatever its Content-Security-Policy has to stop, fails the test.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.conftest import starter
from tests.e2e.novita import QUICK as QUICK_NOVITA
from tests.e2e.novita import Novita, simulating
from tests.e2e.receiver import Receiver, accept, receiving
from tests.e2e.serving import API_KEY, Service

# Long enough to be seen, short enough not to be waited for.
_BOOT = {**QUICK_NOVITA.phase_seconds, "pulling": (1.0, 1.0), "stopping": (0.4, 0.4)}
NOVITA = replace(QUICK_NOVITA, phase_seconds=_BOOT)

_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
)
# Far more than anything here takes, so that only what never happens fails.
_PATIENCE_MS = 45_000
_TELL_OF_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

Open = Callable[..., Page]


@pytest.fixture(scope="session")
def novita() -> Iterator[Novita]:
    """Give the one simulator of the session."""
    with simulating(NOVITA) as novita:
        yield novita


@pytest.fixture(scope="session")
def listener() -> Iterator[Receiver]:
    """Give the one receiver of the session."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def receiver(listener: Receiver) -> Iterator[Receiver]:
    """Give the receiver of all webhooks, and undo what the test does to it."""
    yield listener
    listener.answer = accept


@pytest.fixture(scope="session")
def service(
    novita: Novita, listener: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Give the service of the session."""
    with ExitStack() as stack:
        start = starter(stack, tmp_path_factory.mktemp("browser"), novita)
        yield start(GPUKEEPER_WEBHOOK_URL=listener.url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give the browser, which is the system's: no download of its own is needed."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("Chromium is not installed: install `chromium`, or name it in CHROMIUM.")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[Open]:
    """Give a function that opens a page of the dashboard, by default signed in."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A form that comes back with its faults is a 400, which Chromium remarks on.
        is_refused_form = "400" in message.text and message.location["url"].endswith("/order")
        if message.type in {"error", "warning"} and not is_refused_form:
            errors.append(f"{message.text} {message.location}")

    with ExitStack() as stack:

        def open_page(path: str = "/", *, is_signed_in: bool = True, **options: Any) -> Page:
            context = browser.new_context(base_url=service.url, **options)
            stack.callback(context.close)
            context.set_default_timeout(_PATIENCE_MS)
            context.add_init_script(_TELL_OF_VIOLATIONS)
            page = context.new_page()
            page.on("console", note)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(path)
            if is_signed_in:
                sign_in(page)
            return page

        yield open_page
        assert errors == []


def sign_in(page: Page) -> None:
    """Fill in the key that the service was started with."""
    page.get_by_label("API key").fill(API_KEY)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login" not in url)
