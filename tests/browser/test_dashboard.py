"""The dashboard: both nodes, and numbers that rise by themselves."""

from __future__ import annotations

import asyncio

import pytest

from tests.browser.stage import AdminStage
from tests.browser.visitor import Visitor, expect

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]

CALLS = 25


async def test_nodes_and_numbers(grace: Visitor, stage: AdminStage) -> None:
    async with stage.agent(node=0) as one, stage.agent(node=1) as two:
        await grace.open("dashboard/")
        await grace.mark()
        main = grace.page.locator("#content-main")
        names = stage.node_names()
        assert len(names) >= len(stage.nodes)
        for name in names:
            await expect(main).to_contain_text(name)
        row = grace.page.get_by_role("row").filter(has_text="search_products")
        before = most("".join(await row.all_inner_texts()))
        for agent in (one, two):
            await asyncio.gather(*(agent.call("search_products", text="mugs") for _ in range(CALLS)))

        async def has_risen() -> bool:
            return most("".join(await row.all_inner_texts())) >= before + 2 * CALLS

        async with asyncio.timeout(20):
            while not await has_risen():  # noqa: ASYNC110 (the page is another process's)
                await asyncio.sleep(0.1)
        await grace.assert_marked()


def most(text: str) -> int:
    """Return the largest whole number of a row."""
    return max((int(word) for word in text.replace(",", "").split() if word.isdigit()), default=0)
