"""The admin's pages under the theme django-unfold: no script fails on them, and they have a style."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec

import pytest
import pytest_asyncio

from tests.support.programs import lacking

for module in ("playwright", "unfold"):
    if not find_spec(module):
        lacking(f"{module} is not installed")

from tests.browser.agent import Agent  # noqa: E402 (after what it needs was looked for)
from tests.browser.site.prepare import PASSWORD, STAFF  # noqa: E402
from tests.browser.stage import AdminStage  # noqa: E402
from tests.browser.visitor import Browser, Visitor, expect, visitor  # noqa: E402

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

PAGES = (
    "",
    "{key}/change/",
    "{key}/change/?payloads=1",
    "{key}/delete/",
    "{key}/history/",
    "dashboard/",
    "/admin/mcp_transport/",
    "/admin/mcp_audit/auditentry/",
    "/admin/mcp_tokens/personaltoken/",
    "/admin/mcp_tokens/personaltoken/add/",
)


@pytest.fixture(scope="module")
def unfolded() -> Iterator[AdminStage]:
    with AdminStage("tests.browser.site.unfolded") as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def ida(browser: Browser, unfolded: AdminStage) -> AsyncIterator[Visitor]:
    """Log somebody in; her browser must not complain."""
    async with await browser.new_context() as context, visitor(context, unfolded.nodes[0]) as ida:
        await ida.page.goto(ida.url("/admin/"))
        await ida.page.fill("[name=username]", STAFF)
        await ida.page.fill("[name=password]", PASSWORD)
        await ida.page.keyboard.press("Enter")
        await expect(ida.page.locator("#nav-sidebar-apps")).to_be_visible()
        yield ida
    assert ida.complaints == []


async def look(ida: Visitor, path: str, agent: Agent) -> None:
    """Open a page, and wait until its scripts have run."""
    response = await ida.page.goto(ida.url(path.format(key=agent.key)), wait_until="load")
    assert response is not None and response.status == 200, path
    if await ida.page.locator("#live").count():
        await ida.settle()


async def test_no_script_fails(unfolded: AdminStage, ida: Visitor) -> None:
    async with unfolded.agent(node=0) as agent:
        await agent.call("place_order", product="mug")
        for path in PAGES:
            await look(ida, path, agent)
            assert ida.complaints == [], path


async def test_what_can_be_pressed_looks_like_it(unfolded: AdminStage, ida: Visitor) -> None:
    async with unfolded.agent(node=0) as agent:
        await look(ida, "{key}/delete/", agent)
        button = ida.page.locator("#content-main input[type=submit]")
        await expect(button).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
        await look(ida, "{key}/change/", agent)
        link, heading = (ida.page.locator(f"#content-main {name}").first for name in (".object-tools a", "h2"))
        text = await ida.page.locator("#content-main").evaluate("element => getComputedStyle(element).color")
        await expect(link).not_to_have_css("color", text)
        await expect(heading).to_have_css("font-weight", "600")
        await expect(ida.page.locator("#content-main td").first).to_have_css("padding-top", "8px")


async def test_sessions_are_selected(unfolded: AdminStage, ida: Visitor) -> None:
    async with unfolded.agent(node=0) as agent:
        link = ida.page.get_by_role("link", name=agent.short_id, exact=True)
        await look(ida, f"?q={agent.short_id}", agent)
        while not await link.is_visible():  # the index is written with the lease
            await ida.page.reload()
        counter = ida.page.locator(".action-counter")
        await expect(counter).to_have_text("0 of 1 selected")
        await ida.page.locator("#action-toggle").check()
        await expect(counter).to_have_text("1 of 1 selected")
        await expect(ida.page.locator(".action-select")).to_be_checked()


async def test_charts_have_colors_in_both_schemes(unfolded: AdminStage, ida: Visitor) -> None:
    async with unfolded.agent(node=0) as agent:
        found = set()
        for scheme in ("light", "dark"):
            await ida.page.evaluate("scheme => localStorage.setItem('adminTheme', JSON.stringify(scheme))", scheme)
            await look(ida, "dashboard/", agent)
            await expect(ida.page.locator(".mcp-chart canvas")).to_have_count(4)
            read = "name => getComputedStyle(document.documentElement).getPropertyValue(name)"
            found |= {await ida.page.evaluate(read, name) for name in ("--link-fg", "--hairline-color")}
        assert len(found) == 4 and "" not in found
