"""An operator's day, with a mouse and without: see a session, watch its call, cancel that, end the session."""

from __future__ import annotations

import pytest
from mcp import MCPError

from tests.browser.site.prepare import VIEWER
from tests.browser.stage import AdminStage
from tests.browser.visitor import Browser, Visitor, expect, stranger

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]


async def test_from_logging_in_to_ending_a_session(browser: Browser, stage: AdminStage) -> None:
    async with stranger(browser, stage.nodes[0]) as grace, stage.agent(node=1, name="copilot", user="ivan") as agent:
        await grace.log_in()
        page = grace.page
        stage.allow("day", 1)
        agent.begin("import_orders", name="day")
        link = await grace.find(agent.short_id)
        await expect(page.get_by_role("row").filter(has=link)).to_contain_text("copilot 1.0")
        await expect(page.get_by_role("row").filter(has=link)).to_contain_text("ivan")

        await link.click()
        await grace.settle()
        await grace.mark()
        stage.allow("day", 3)
        await expect(grace.line("notifications/progress", "3 of 10")).to_be_visible()
        stage.allow("day", 4)
        await expect(grace.line("notifications/progress", "4 of 10")).to_be_visible()
        await grace.assert_marked()

        await page.get_by_role("button", name="Cancel call").click()
        await expect(page.get_by_text("Are you sure")).to_be_visible()
        await page.get_by_role("button", name="Yes, cancel it").click()
        await expect(page.get_by_text("The call is being cancelled.")).to_be_visible()
        await stage.await_cancelled("day")
        await grace.settle()

        await page.get_by_role("link", name="End this session").click()
        await expect(page.get_by_text("Are you sure")).to_be_visible()
        assert await agent.call("search_products", text="cups") == "nothing is called cups"
        await page.get_by_role("button", name="Yes, end").click()
        await expect(page.get_by_text("1 session was ended.")).to_be_visible()
        with pytest.raises(MCPError):
            await agent.call("search_products", text="mugs")
        assert agent.statuses[-1] == 404
    assert grace.complaints == []


async def test_sessions_are_ended_from_the_list(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(name="in-the-list") as agent, stage.agent(name="in-the-list") as other:
        await grace.find(agent.short_id)
        await grace.page.get_by_role("checkbox", name=f"Select session {agent.short_id}").check()
        await grace.page.get_by_role("button", name="End selected sessions").click()
        await expect(grace.page.locator("#content-main")).to_contain_text(agent.short_id)
        await grace.page.get_by_role("button", name="Yes, end").click()
        await expect(grace.page.get_by_text("1 session was ended.")).to_be_visible()
        with pytest.raises(MCPError):
            await agent.call("search_products", text="mugs")
        assert await other.call("search_products", text="mugs") == "nothing is called mugs"


async def test_who_may_only_look_finds_nothing_to_press(browser: Browser, stage: AdminStage) -> None:
    async with stranger(browser, stage.nodes[0]) as heidi, stage.agent() as agent:
        await heidi.log_in(VIEWER)
        stage.allow("seen", 1)
        call = agent.begin("import_orders", name="seen", total=2)
        await (await heidi.find(agent.short_id)).click()
        await heidi.settle()
        main = heidi.page.locator("#content-main")
        await expect(main).to_contain_text("import_orders")
        assert await main.get_by_role("link", name="End this session").count() == 0
        assert await main.get_by_role("button", name="Cancel").count() == 0
        stage.allow("seen", 2)
        assert await call == "2 orders imported"
    assert heidi.complaints == []


# -- the Tab key, the space bar and Enter are enough ---------------------------------------------------------


async def test_a_session_is_ended_by_keyboard_alone(grace: Visitor, stage: AdminStage) -> None:
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


async def test_a_selection_is_ended_by_keyboard_alone(grace: Visitor, stage: AdminStage) -> None:
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
