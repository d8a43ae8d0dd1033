"""The page of a session: why a call failed, what a call waits for, and how it is cancelled."""

from __future__ import annotations

import re

import pytest
from mcp import MCPError

from tests.browser.stage import AdminStage
from tests.browser.visitor import Visitor, expect

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

TARGET_PIXELS = 24  # WCAG 2.5.8


async def test_a_failed_call_says_why_while_the_page_is_open(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=1, name="failing", user="ivan") as agent:
        assert "place_order" in await agent.call("place_order", product="mugs")
        await grace.open(f"{agent.key}/change/")
        await grace.mark()
        failed = grace.line("tools/call place_order", "Failed", "The function raised an exception: ValueError")
        await expect(failed).to_be_visible()
        await expect(failed).to_have_attribute("data-state", "failed")
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+ \(.+ ago\)", await failed.inner_text())
        with pytest.raises(MCPError):
            await agent.call("nothing_of_the_kind")
        await expect(grace.line("nothing_of_the_kind", "NotFound, -32602")).to_be_visible()
        newest = grace.page.locator("#timeline > li").first
        await expect(newest).to_contain_text("nothing_of_the_kind")
        await grace.assert_marked()
        state = grace.page.locator("#state")
        await expect(state).to_have_text("active")
        await grace.page.get_by_role("link", name="Sessions of this client").click()
        await expect(grace.page.get_by_role("search")).to_be_visible()
        assert "client=failing+1.0" in grace.page.url


async def test_a_call_that_waits_for_the_user_says_so(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=1) as agent:
        call = agent.begin("cancel_order", order=7)
        await grace.open(f"{agent.key}/change/")
        waiting = grace.line("tools/call cancel_order", "waiting for the user's answer since")
        await expect(waiting).to_be_visible()
        table = grace.page.locator('tbody[data-rows="calls"]')
        await expect(table).to_contain_text("waiting for the user's answer since")
        await expect(grace.line("elicitation/create", "tools/call cancel_order")).to_be_visible()
        await expect(grace.page.locator('tbody[data-rows="streams"]')).to_contain_text("tools/call cancel_order")
        agent.may_answer.set()
        assert await call == "the user's answer: accept"
        await expect(grace.line("tools/call cancel_order", "Answered")).to_be_visible()
        await expect(waiting).to_have_count(0)


async def test_a_call_is_cancelled_only_after_a_question(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=1) as agent:
        stage.allow("asked", 1)
        agent.begin("import_orders", name="asked")
        await grace.page.goto(grace.url(f"{agent.short_id}/change/"))
        assert grace.page.url == grace.url(f"{agent.key}/change/"), "the short ID of a log line is enough"
        await grace.settle()
        button = grace.page.get_by_role("button", name="Cancel call")
        box = await button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= TARGET_PIXELS
        await button.click()
        await expect(grace.page.get_by_text("tools/call import_orders")).to_be_visible()
        await grace.page.get_by_role("link", name="No, take me back").click()
        await expect(grace.line("tools/call import_orders", "running")).to_be_visible()
        await grace.settle()
        await grace.page.get_by_role("button", name="Cancel call").click()
        await grace.page.get_by_role("button", name="Yes, cancel it").click()
        await stage.await_cancelled("asked")
        await expect(grace.line("tools/call import_orders", "Cancelled by staff")).to_be_visible()
        await grace.settle()
        await grace.page.get_by_role("link", name="History").click()
        await expect(grace.page.get_by_text("Cancelled the call tools/call import_orders (request ")).to_be_visible()


async def test_payloads_are_indented(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=1) as agent:
        stage.allow("indented", 2)
        agent.begin("import_orders", name="indented")
        await grace.open(f"{agent.key}/change/?payloads=1")
        payload = grace.line("notifications/progress").first.locator("pre")
        await expect(payload).to_contain_text('{\n  "jsonrpc": "2.0",\n  "method": "notifications/progress",')
        stage.allow("indented", 3)
        await expect(grace.line("notifications/progress", "3 of 10").locator("pre")).to_contain_text(
            '\n  "params": {'
        )
