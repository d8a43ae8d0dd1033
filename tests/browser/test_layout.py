"""Pages on small screens, in both color schemes, and for those who do not see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from tests.browser.agent import Agent
from tests.browser.stage import AdminStage
from tests.browser.visitor import ViewportSize, Visitor, expect

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

PHONE: ViewportSize = {"width": 390, "height": 844}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
LONG = "a-client-whose-name-" + "never-ends-" * 20
CONTROLS = {"button", "checkbox", "combobox", "link", "listbox", "radio", "searchbox", "spinbutton", "switch"}
CONTROLS |= {"textbox"}

PAGES = ("", "{key}/change/", "{key}/delete/", "dashboard/")


@asynccontextmanager
async def busy(stage: AdminStage, name: str) -> AsyncIterator[Agent]:
    """Open a session that has a long name, a call that runs, and one that failed."""
    async with stage.agent(name=LONG, user="u" * 150) as agent:
        stage.allow(name, 1)
        call = agent.begin("import_orders", name=name, total=2)
        await agent.call("place_order", product="mug")
        yield agent
        stage.allow(name, 2)
        await call


async def page_of(watcher: Visitor, agent: Agent, path: str) -> None:
    """Open a page that shows the session, with all that can be unfolded."""
    if path:
        await watcher.open(path.format(key=agent.key))
    else:
        await watcher.find(agent.short_id)
    await watcher.page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")


async def test_nothing_is_beyond_the_edge_of_a_phone_and_every_control_has_a_name(
    grace: Visitor, stage: AdminStage, subtests: pytest.Subtests
) -> None:
    await grace.page.set_viewport_size(PHONE)
    async with busy(stage, "layout") as agent:
        for path in PAGES:
            with subtests.test(path or "list"):
                await page_of(grace, agent, path)
                for scheme in SCHEMES:
                    await grace.page.emulate_media(color_scheme=scheme)
                    assert await grace.overflow() == 0, scheme
                await expect(grace.page.locator("#content-main")).to_be_visible()
                controls = [node for node in await grace.accessibility() if node["role"]["value"] in CONTROLS]
                assert controls
                assert [node for node in controls if not node.get("name", {}).get("value", "").strip()] == []
