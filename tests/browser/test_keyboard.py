"""Without a mouse: the Tab key, the space bar and Enter are enough."""

from __future__ import annotations

import pytest
from mcp import MCPError

from tests.browser.stage import AdminStage
from tests.browser.visitor import Visitor, expect

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]


async def test_opening_and_ending_a_session(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent() as agent:
        page = grace.page
        await grace.press_tab_until(await grace.find(agent.short_id))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name=agent.short_id)).to_be_visible()
        await grace.settle()
        await grace.press_tab_until(page.get_by_role("link", name="End this session"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Are you sure")).to_be_visible()
        await grace.press_tab_until(page.get_by_role("button", name="Yes, end"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("1 session was ended.")).to_be_visible()
        with pytest.raises(MCPError):
            await agent.call("search_products", text="mugs")
        assert agent.statuses[-1] == 404


async def test_ending_a_selection(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent() as agent:
        page = grace.page
        await grace.find(agent.short_id)
        await grace.press_tab_until(page.get_by_role("checkbox", name=f"Select session {agent.short_id}"))
        await page.keyboard.press("Space")
        await page.get_by_role("button", name="End selected sessions").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Are you sure")).to_be_visible()
        await grace.press_tab_until(page.get_by_role("link", name="No, take me back"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("search")).to_be_visible()
        assert await agent.call("search_products", text="mugs") == "nothing is called mugs"
