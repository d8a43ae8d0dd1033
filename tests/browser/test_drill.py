"""An operator's drill: from errors on the dashboard to a session, all sessions of a client, a node, a log line."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx2
import pytest

from mcp_transport.domain.session import session_key
from tests.browser.stage import AdminStage
from tests.browser.visitor import LIST, Browser, BrowserContext, Visitor, expect, visitor
from tests.support.node import Node

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

CROWD = 105
HURRY = "const wait = window.setTimeout; window.setTimeout = (work, delay) => wait(work, delay / 20);"
"""Has a page update itself twenty times as often."""


async def open_sessions(node: Node, client: str, count: int) -> list[str]:
    """Open sessions of a client for as many users; return their keys."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": client, "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    limit = asyncio.Semaphore(10)
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:

        async def open_one(number: int) -> str:
            headers = {"Accept": "application/json, text/event-stream", "X-User": f"user-{number}"}
            async with limit:
                response = await http.post(node.url, json=body, headers=headers)
            assert response.status_code == 200, response.text
            return session_key(response.headers["mcp-session-id"])

        return await asyncio.gather(*map(open_one, range(count)))


async def reload_until(watcher: Visitor, text: str) -> None:
    """Load a list again until the index has what it must show."""
    async with asyncio.timeout(60):
        while text not in await watcher.page.locator("#content-main").inner_text():
            await watcher.page.reload()


async def test_from_errors_on_the_dashboard_to_the_failed_call(grace: Visitor, stage: AdminStage) -> None:
    page, clicks = grace.page, 0

    async def click(locator: Any) -> None:
        nonlocal clicks
        await locator.click()
        clicks += 1

    async with stage.agent(node=1, name="shopper", user="judy") as agent:
        await agent.call("search_products", text="cups")
        await agent.call("place_order", product="cup")
        await grace.open("dashboard/")
        row = page.locator("tbody[data-grid=operations] tr").filter(has_text="place_order")
        failed = row.get_by_role("link", name=re.compile(r"^\d+$"))
        await expect(failed).to_be_visible(timeout=60_000)  # an interval of counting must be over
        await click(failed)
        await expect(page.get_by_role("heading", name="Filter", exact=True)).to_be_visible()
        assert "place_order" in await page.locator("#changelist-filter li.selected").last.inner_text()
        link = page.get_by_role("link", name=agent.short_id, exact=True)
        async with asyncio.timeout(60):
            while not await link.is_visible():
                await page.reload()
        await click(link)
        await grace.settle()
        await expect(page.get_by_role("heading", name=agent.short_id)).to_be_visible()
        await expect(page.locator("#content-main")).to_contain_text("place_order")
        await click(page.get_by_role("link", name="Show payloads"))
        await grace.settle()
        call = grace.line("tools/call place_order", "The function raised an exception: ValueError")
        await expect(call.locator("pre")).to_contain_text("cup is sold out")
        assert clicks <= 4


async def test_all_sessions_of_a_client_are_ended(grace: Visitor, stage: AdminStage) -> None:
    page = grace.page
    keys = await open_sessions(stage.nodes[1], "runaway", CROWD)
    async with stage.agent(node=1, name="well-behaved") as bystander:
        await grace.open()
        await reload_until(grace, "runaway 1")
        await page.locator("#changelist-filter").get_by_role("link", name=re.compile("^runaway 1")).click()
        await reload_until(grace, f"1 to 100 of about {CROWD}")
        filtered = page.url
        await page.get_by_role("checkbox", name="Select all sessions on this page").check()
        await expect(page.locator(".action-counter")).to_have_text("100 of 100 selected")
        await page.get_by_role("button", name=f"Select all that match, about {CROWD}").click()
        await expect(page.get_by_text(f"All {CROWD} selected")).to_be_visible()
        await page.get_by_role("button", name="Clear selection").click()
        await expect(page.locator(".action-counter")).to_have_text("0 of 100 selected")
        await page.get_by_role("checkbox", name="Select all sessions on this page").check()
        await page.get_by_role("button", name=f"Select all that match, about {CROWD}").click()
        await page.get_by_role("button", name="End selected sessions").click()
        await expect(page.get_by_text(f"end these {CROWD} sessions")).to_be_visible()
        await expect(page.get_by_role("link", name="No, take me back")).to_have_attribute(
            "href", filtered.removeprefix(f"http://127.0.0.1:{grace.node.port}")
        )
        await page.get_by_role("button", name="Yes, end them").click()
        await expect(page.get_by_text(f"{CROWD} sessions were ended.")).to_be_visible()
        await expect(page.get_by_text("No session matches the search and the filters.")).to_be_visible()
        assert await bystander.call("search_products", text="mugs") == "nothing is called mugs"
    with stage.redis.connect() as redis:
        assert not any(redis.exists(f"mcp:{{{key}}}") and redis.hget(f"mcp:{{{key}}}", "created") for key in keys)


async def test_a_node_is_drained_by_keyboard_alone(grace: Visitor, stage: AdminStage) -> None:
    page = grace.page
    before = set(stage.node_names())
    with stage.node("node-to-drain") as node:
        await open_sessions(node, "last-client", 1)  # a node joins with its first request
        [name] = set(stage.node_names()) - before
        await grace.open("dashboard/?range=1h")
        row = page.locator("tbody[data-grid=nodes] tr").filter(has_text=name)
        await expect(row).to_contain_text("live")
        await grace.press_tab_until(row.get_by_role("link", name=re.compile("^Drain ")))
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Nothing undoes it")).to_be_visible()
        await grace.press_tab_until(page.get_by_role("button", name="Yes, drain it"))
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("is being drained.")).to_be_visible()
        await grace.settle()
        await expect(row).to_contain_text("draining")
        await expect(row.get_by_role("link", name=re.compile("^Drain "))).to_have_count(0)


async def test_a_session_is_found_by_the_short_id_of_a_log_line(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=1, name="in-the-log") as agent:
        log = stage.nodes[1].fresh_log
        [short_id] = re.findall(r"session (\w{10}) opened by .*in-the-log", log)
        assert short_id == agent.short_id
        await grace.open()
        await grace.page.get_by_role("textbox", name="Search").fill(short_id)
        await grace.page.keyboard.press("Enter")
        await expect(grace.page).to_have_url(re.compile(f"q={short_id}"))
        await reload_until(grace, "in-the-log 1.0")
        await grace.page.get_by_role("link", name=short_id, exact=True).click()
        await expect(grace.page.get_by_role("heading", name=short_id)).to_be_visible()
        await grace.settle()


async def test_the_list_updates_itself_until_it_is_paused(stage: AdminStage, desk: BrowserContext) -> None:
    async with visitor(desk, stage.nodes[0]) as ruth:
        await ruth.page.add_init_script(HURRY)
        await ruth.open("?q=late-com")
        await ruth.mark()
        await expect(ruth.page.get_by_text("No session matches")).to_be_visible()
        async with stage.agent(node=1, name="late-comer") as agent:
            link = ruth.page.get_by_role("link", name=agent.short_id, exact=True)
            await expect(link).to_be_visible()
            await ruth.page.get_by_role("checkbox", name=f"Select session {agent.short_id}").check()
            await expect(ruth.page.locator(".action-counter")).to_have_text("1 of 1 selected")
            await expect(ruth.page.get_by_role("status")).to_have_text("not updated while you use the list")
            await ruth.page.get_by_role("button", name="Pause").click()
            await expect(ruth.page.get_by_role("status")).to_have_text("updates are paused")
            await ruth.assert_marked()
            await ruth.page.get_by_role("button", name="Resume").click()
        assert ruth.complaints == []


async def test_values_under_the_pointer_are_shown_with_their_unit(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=0) as agent:
        await agent.call("search_products", text="cups")
        await grace.open("dashboard/")
        await expect(grace.page.locator("tbody[data-grid=points] tr").first).to_be_visible(timeout=60_000)
        over = grace.page.locator(".mcp-chart .u-over").first
        await over.scroll_into_view_if_needed()
        box = await over.bounding_box()
        assert box is not None
        values = grace.page.locator(".mcp-value")
        async with asyncio.timeout(60):
            while not await values.first.inner_text():
                await grace.page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 10)
                await grace.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 11)
        await expect(values.first).to_have_text(re.compile(r"^[\d.,]+ calls/s, "))
        await expect(values.nth(1)).to_have_text(re.compile(r"^[\d.,]+ ms, "))
        await grace.page.get_by_role("button", name="Pause").click()
        await expect(grace.page.get_by_role("status")).to_have_text("updates are paused")
        await grace.page.get_by_role("button", name="Resume").click()
        await grace.settle()


async def test_without_javascript_filters_ranges_and_the_end_of_sessions_work(
    browser: Browser, stage: AdminStage
) -> None:
    async with (
        await browser.new_context(java_script_enabled=False) as context,
        visitor(context, stage.nodes[0]) as ann,
        stage.agent(node=1, name="plain") as agent,
    ):
        await agent.call("search_products", text="cups")
        await ann.log_in()
        await ann.page.goto(ann.url(f"{LIST}?q=plain"))
        await reload_until(ann, agent.short_id)
        await ann.page.locator("#changelist-filter").get_by_role("link", name=re.compile("^plain 1.0")).click()
        await ann.page.get_by_role("checkbox", name=f"Select session {agent.short_id}").check()
        await ann.page.get_by_role("button", name="End selected sessions").click()
        await ann.page.get_by_role("button", name="Yes, end it").click()
        await expect(ann.page.get_by_text("1 session was ended.")).to_be_visible()
        await ann.page.goto(ann.url("dashboard/"))
        await ann.page.get_by_role("link", name="1 hour").click()
        await expect(ann.page.get_by_role("heading", name="The last 1 hour in numbers")).to_be_visible()
        await reload_until(ann, "search_products")
        await ann.page.get_by_role("link", name="p95 latency").first.click()
        await expect(ann.page.locator("th[aria-sort=descending]")).to_have_count(1)
        assert "range=1h" in ann.page.url
