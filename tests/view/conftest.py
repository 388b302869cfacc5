"""A browser that looks at the page, as a server sends it and as one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from viewed.invented import Data, Made
from viewed.telling import Server, served

from tts.view.export import page_with

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HANG_S = 60  # after which a test is ended; a machine that is busy with other things decides no verdict


@pytest.fixture(params=["served", "exported"])
def opened(
    request: pytest.FixtureRequest, serve: Callable[[Data], Server], export: Callable[[Data], str]
) -> Callable[[Data], str]:
    """A function that shows data, by a server or as one file, and returns the address of the page."""
    return export if request.param == "exported" else lambda data: serve(data).url


@pytest.fixture
def serve() -> Iterator[Callable[[Data], Server]]:
    with ExitStack() as servers:
        yield lambda data: servers.enter_context(served(data))


@pytest.fixture
def export(tmp_path: Path) -> Callable[[Data], str]:
    def write(data: Data) -> str:
        file = tmp_path / "view.html"
        file.write_bytes(page_with({path: json.dumps(value).encode() for path, value in data.items()}))
        return file.as_uri()

    return write


@pytest.fixture
def make() -> type[Made]:
    """The maker of runs."""
    return Made


@pytest.fixture(scope="module")
def chromium(browser: str) -> Iterator[Browser]:
    """A browser, for the tests of a module: as long as it is there, no test beside it can run an event loop."""
    from playwright.sync_api import expect, sync_playwright  # here: tests without a browser need nothing of it

    expect.set_options(timeout=1000 * HANG_S)
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


class Tab:
    """A page of the browser, in which nothing may go wrong unseen: no exception, no dialog, no broken policy."""

    def __init__(self, page: Page) -> None:
        self.page, self.wrong, self.loads = page, [], 0
        page.set_default_timeout(1000 * HANG_S)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        page.on(
            "console", lambda said: self.wrong.append(f"{said.text} {said.location}") if said.type == "error" else None
        )
        page.add_init_script("window.pwned = () => { window.hit = true; }")

    def go(self, url: str, route: str = "#/") -> None:
        """Open a page by its address, as somebody does who was sent it."""
        self.loads += 1
        self.page.goto(f"{url}?{self.loads}{route}")  # another query, because another route alone loads nothing
        self.page.wait_for_selector("main h1")

    def text(self, selector: str = "main") -> str:
        return self.page.inner_text(selector)


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    tab = Tab(context.new_page())
    yield tab
    context.close()
    assert tab.wrong == []
