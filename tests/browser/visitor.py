"""Somebody in front of a browser."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from tests.browser.site import POLICY
from tests.browser.site.prepare import PASSWORD, STAFF
from tests.support.node import Node
from tests.support.processes import program
from tests.support.programs import lacking

if not find_spec("playwright"):
    lacking("playwright is not installed")

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    ViewportSize,
    async_playwright,
    expect,
)

__all__ = [
    "LIST",
    "Browser",
    "BrowserContext",
    "FloatRect",
    "ViewportSize",
    "Visitor",
    "chromium",
    "expect",
    "stranger",
    "visitor",
]

FLAGS = [f"--{name}" for name in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run")]
FLAGS += [f"--disable-{name}" for name in ("background-networking", "component-update", "sync")]
LIST = "/admin/mcp_transport/session/"
PATIENCE = 15.0
TABS = 150

expect.set_options(timeout=PATIENCE * 1000)


class Visitor:
    """A window that looks at one node, what its browser complained of, and the addresses that it asked."""

    def __init__(self, page: Page, node: Node) -> None:
        self.page, self.node = page, node
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("websocket", lambda opened: self.addresses.append(opened.url))
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def url(self, path: str) -> str:
        """Return an address of the node: below the list of sessions, or from the root."""
        return f"http://127.0.0.1:{self.node.port}{path if path.startswith('/') else LIST + path}"

    async def open(self, path: str = "") -> None:
        """Open a page, and get that one and no other."""
        response = await self.page.goto(self.url(path))
        assert response is not None
        assert response.status == 200, (path, response.status, self.node.fresh_log[-3000:])
        assert response.headers["content-security-policy"] == POLICY
        assert urlsplit(self.page.url)._replace(query="") == urlsplit(self.url(path))._replace(query=""), path
        if await self.page.locator("#live").count():
            await self.settle()

    async def settle(self) -> None:
        """Wait until a page keeps itself up to date; one that is left before that complains."""
        await expect(self.page.locator("#live")).to_have_attribute("data-state", re.compile("live|polling"))

    async def log_in(self, user: str = STAFF) -> None:
        """Log in as people do."""
        await self.page.goto(self.url("/admin/"))
        await self.page.get_by_label("Username:").fill(user)
        await self.page.get_by_label("Password:").fill(PASSWORD)
        await self.page.get_by_role("button", name="Log in").click()
        await expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    async def find(self, short_id: str) -> Locator:
        """Look for a session by its id until the index has it; return the link to it."""
        link, deadline = self.page.get_by_role("link", name=short_id, exact=True), time.monotonic() + PATIENCE
        await self.open(f"?q={short_id}")
        while not await link.is_visible():
            assert time.monotonic() < deadline, f"{short_id} is not listed"
            await self.page.reload()
        return link

    def line(self, *texts: str) -> Locator:
        """Return the lines of a session's timeline that have all of this in them."""
        lines = self.page.locator("#timeline li")
        for text in texts:
            lines = lines.filter(has_text=text)
        return lines

    async def press_tab_until(self, target: Locator) -> None:
        """Go to a control with the Tab key alone."""
        for _ in range(TABS):
            await self.page.keyboard.press("Tab")
            if await target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the Tab key does not lead to {target}")

    async def mark(self) -> None:
        """Leave a mark that a reload takes away."""
        await self.page.evaluate("window.marked = true")

    async def assert_marked(self) -> None:
        """Check that the page was not loaded again."""
        assert await self.page.evaluate("window.marked === true"), "the page was loaded again"

    async def overflow(self) -> int:
        """Return how many pixels of the page are beyond the right edge."""
        width: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return max(0, width)

    async def accessibility(self) -> list[dict[str, Any]]:
        """Return what the browser tells a screen reader."""
        session = await self.page.context.new_cdp_session(self.page)
        tree = await session.send("Accessibility.getFullAXTree")
        await session.detach()
        return [node for node in tree["nodes"] if not node["ignored"]]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Debian's browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def visitor(context: BrowserContext, node: Node) -> AsyncIterator[Visitor]:
    """Open one more window of somebody."""
    page = await context.new_page()
    try:
        yield Visitor(page, node)
    finally:
        await page.close()


@asynccontextmanager
async def stranger(browser: Browser, node: Node) -> AsyncIterator[Visitor]:
    """Open the first window of somebody who has not logged in."""
    async with await browser.new_context() as context, visitor(context, node) as found:
        yield found
