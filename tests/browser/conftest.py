"""A real Chromium. It is found on the machine (or named by CHROMIUM); without one these tests are skipped,
or fail where BROWSER_TESTS=required, as in CI.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from django.core.signals import request_finished, request_started
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from console.models import User
from tests.processes import wait_for

HOW_TO_GET_ONE = (
    "no Chromium found: install one (Debian and Ubuntu: apt install chromium), or name it with CHROMIUM=/path"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here drives a browser and a server in another thread."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


def find_chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(HOW_TO_GET_ONE)
        pytest.skip(HOW_TO_GET_ONE)
    # A sandbox needs rights that containers and root do not have; the only pages opened are our own.
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


class RequestsUnderWay:
    """Counts what the server of the test is answering at the moment."""

    def __init__(self) -> None:
        self.count, self.lock = 0, threading.Lock()

    def started(self, **kwargs: object) -> None:
        with self.lock:
            self.count += 1

    def finished(self, **kwargs: object) -> None:
        with self.lock:
            self.count -= 1


@pytest.fixture
def quiet_server(live_server) -> Iterator[None]:
    """Ends only when every request was answered: a late poll would lock rows that the test's end empties."""
    under_way = RequestsUnderWay()
    request_started.connect(under_way.started)
    request_finished.connect(under_way.finished)
    yield
    wait_for(lambda: under_way.count <= 0, 10)
    request_started.disconnect(under_way.started)
    request_finished.disconnect(under_way.finished)


@pytest.fixture
def open_page(browser: Browser, live_server, quiet_server) -> Iterator[Callable[..., Page]]:
    """Returns a function that opens a page for a signed-in person.

    At the end of the test nothing may have gone wrong in the browser: no script error, no refusal by the
    content security policy, no request that left the machine.
    """
    troubles: list[str] = []
    contexts = []

    def watch(message: ConsoleMessage) -> None:
        # htmx reports polls that were under way when the page was left; that is how pages end.
        expected = "htmx:sendAbort" in message.text or "htmx:afterRequest" in message.text
        # A form that comes back with errors is answered with 422, which Chromium logs.
        expected = expected or "status of 422" in message.text
        # Only a test that breaks the line on purpose gets this.
        expected = expected or "ERR_CONNECTION_RESET" in message.text
        if message.type in ("error", "warning") and not expected:
            troubles.append(f"{message.type}: {message.text}")

    def open_for(user: User | None = None, width: int = 1440, language: str = "en-US", **options) -> Page:
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": width, "height": 900}, locale=language, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", watch)
        page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((live_server.url, "data:", "blob:"))
                else troubles.append(f"request to {request.url}")
            ),
        )
        if user is not None:
            client = Client()
            client.force_login(user)
            session = client.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        return page

    yield open_for
    for context in contexts:
        context.close()
    assert not troubles, "\n".join(troubles)
