"""What clients and tools say is shown as text, whatever it is."""

from __future__ import annotations

import pytest

from tests.browser.stage import AdminStage
from tests.browser.visitor import Visitor, expect

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

SCRIPT = "<script>window.hacked=1</script>"
IMAGE = "<img src=x onerror=window.hacked=1>\"'><svg onload=window.hacked=1>"


async def test_hostile_names_and_output(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(name=SCRIPT, user=IMAGE) as agent:
        stage.allow("hostile", 1)
        call = agent.begin("import_orders", name="hostile", total=3, text=IMAGE)
        await expect(grace.page.get_by_role("row").filter(has=await grace.find(agent.short_id))).to_contain_text(
            SCRIPT
        )
        await assert_unharmed(grace)
        for path in (f"{agent.key}/delete/", f"{agent.key}/change/"):
            await grace.open(path)
            await expect(grace.page.locator("#content-main")).to_contain_text(SCRIPT)
            await assert_unharmed(grace)
        await grace.open(f"{agent.key}/change/?payloads=1")
        stage.allow("hostile", 2)
        for step in ("1 of 3", "2 of 3"):
            await expect(grace.line(step)).to_contain_text("onerror=window.hacked=1")
        await assert_unharmed(grace)
        assert await agent.call("search_products", text=SCRIPT) == f"nothing is called {SCRIPT}"
        stage.allow("hostile", 3)
        await call
        await expect(grace.line("result")).to_be_visible()
        await assert_unharmed(grace)


async def test_hostile_search(grace: Visitor) -> None:
    await grace.page.goto(grace.url(f"?q={SCRIPT}&client={IMAGE}&offset={SCRIPT}"))
    await expect(grace.page.get_by_role("search").get_by_role("textbox")).to_have_value(SCRIPT)
    await assert_unharmed(grace)


async def assert_unharmed(grace: Visitor) -> None:
    assert await grace.page.evaluate("typeof window.hacked") == "undefined"
    assert await grace.page.locator("#content-main script, #content-main img[src=x]").count() == 0
