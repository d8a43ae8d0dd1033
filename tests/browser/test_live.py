"""Pages that go on by themselves: over a WebSocket, and by asking again where a site has none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.browser.stage import AdminStage
from tests.browser.visitor import BrowserContext, Visitor, expect, visitor
from tests.support.node import Node

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def plain_node(stage: AdminStage) -> Iterator[Node]:
    """Run a node that has no WebSockets."""
    with stage.node("node-without-websocket", SITE_WEBSOCKET="no") as node:
        yield node


HURRY = "const wait = window.setTimeout; window.setTimeout = (work, delay) => wait(work, delay / 10);"
"""Has a page ask ten times as often."""


async def watch_a_call(watcher: Visitor, stage: AdminStage, name: str, state: str) -> None:
    """Look at a call that the other node serves, from its first step to its end, and that of its session."""
    status = watcher.page.get_by_role("status")
    async with stage.agent(node=1) as agent:
        stage.allow(name, 1)
        call = agent.begin("import_orders", name=name)
        await watcher.open(f"{agent.key}/change/")
        await watcher.mark()
        for step in (3, 7):
            stage.allow(name, step)
            await expect(watcher.line("notifications/progress", f"{step} of 10")).to_be_visible()
        stage.allow(name, 10)
        assert await call == "10 orders imported"
        await expect(watcher.line("result")).to_be_visible()
        await expect(status).to_have_text(state)
    await expect(status).to_have_text("This session has ended.")
    await watcher.assert_marked()
    # Servers and proxies log addresses.
    assert [address for address in watcher.addresses if "/live/" in address]
    assert not [address for address in watcher.addresses if "cursor" in address]


async def test_over_a_websocket(grace: Visitor, stage: AdminStage) -> None:
    await watch_a_call(grace, stage, "pushed", "live")


async def test_by_asking_again(stage: AdminStage, plain_node: Node, desk: BrowserContext) -> None:
    async with visitor(desk, plain_node) as ruth:
        await ruth.page.add_init_script(HURRY)
        await watch_a_call(ruth, stage, "asked", "polling")
    assert [text for text in ruth.complaints if "WebSocket connection to" not in text] == []


# -- the dashboard -------------------------------------------------------------------------------------------

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

        async with asyncio.timeout(60):
            while not await has_risen():  # noqa: ASYNC110 (the page is another process's)
                await asyncio.sleep(0.1)
        await grace.assert_marked()


async def test_a_circuit_breaker_that_opens_elsewhere_is_shown_and_reset(grace: Visitor, stage: AdminStage) -> None:
    button = grace.page.get_by_role("button", name="Reset the circuit breaker of track_parcel")
    async with stage.agent(node=1) as agent:
        await grace.open("dashboard/")
        await expect(button).to_have_count(0)
        await grace.mark()
        assert "track_parcel" in await agent.call("track_parcel", parcel="7")  # it fails, and opens the circuit
        await expect(button).to_be_visible()
        await grace.assert_marked()
        await button.click()
        await expect(grace.page.get_by_text("The circuit breaker of “track_parcel” is being reset.")).to_be_visible()
        await expect(button).to_have_count(0)


def most(text: str) -> int:
    """Return the largest whole number of a row."""
    return max((int(word) for word in text.replace(",", "").split() if word.isdigit()), default=0)
