"""The list, a session, the dashboard and the questions in both color schemes: axe-core finds nothing serious."""

from __future__ import annotations

import asyncio
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.browser.stage import AdminStage
from tests.browser.visitor import BrowserContext, Visitor, visitor
from tests.support.programs import lacking

PACKAGE = find_spec("axe_playwright_python")
if PACKAGE is None or PACKAGE.origin is None:
    lacking("axe-playwright-python is not installed")
AXE = Path(PACKAGE.origin).parent / "axe.min.js"

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

PAGES = ("", "?q=nobody-of-this-name", "{key}/change/", "{key}/delete/", "dashboard/?range=1h&sort=-errors")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SERIOUS = ("serious", "critical")
SMALLEST = 24

SMALL = """smallest => [...document.querySelectorAll(
  '#content-main :is(a, button, summary, select, input:not([type=hidden]))')]
  .filter(item => item.checkVisibility())
  .map(item => [item, (item.closest('label.mcp-target') || item).getBoundingClientRect()])
  .filter(([item, box]) => box.width < smallest || box.height < smallest)
  .map(([item, box]) => `${item.localName} ${item.textContent.trim() || item.id}: ${box.width} x ${box.height}`)"""


async def violations(watcher: Visitor) -> list[Any]:
    """Return what axe-core finds that is serious."""
    await watcher.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await watcher.page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        (item["id"], node["target"], node["failureSummary"])
        for item in found["violations"]
        if item["impact"] in SERIOUS
        for node in item["nodes"]
    ]


async def test_nothing_serious_is_found_and_every_target_is_large(
    stage: AdminStage, desk: BrowserContext, subtests: pytest.Subtests
) -> None:
    # A window of its own, whose complaints do not matter: axe-core itself writes styles into the page.
    async with visitor(desk, stage.nodes[0]) as olga, stage.agent(node=1, name="axe", user="olga") as agent:
        await agent.call("place_order", product="mug")
        await olga.open()
        async with asyncio.timeout(60):
            while not await olga.page.get_by_role("link", name=agent.short_id, exact=True).is_visible():
                await olga.page.reload()
        pages = [*PAGES, f"dashboard/drain/?node={stage.node_names()[0]}"]
        for scheme in SCHEMES:
            await olga.page.emulate_media(color_scheme=scheme)  # before a page is opened: colors fade into others
            for path in pages:
                with subtests.test(f"{re.sub(r'=.{12,}', '', path) or 'list'}: {scheme}"):
                    await olga.open(path.format(key=agent.key))
                    assert await violations(olga) == []
                    assert await olga.page.evaluate(SMALL, SMALLEST) == []
