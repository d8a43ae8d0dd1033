"""Take the documentation's pictures of the admin: `python -m tests.browser.screenshots`."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from tests.browser.agent import Agent
from tests.browser.stage import AdminStage
from tests.browser.visitor import Browser, FloatRect, ViewportSize, Visitor, chromium, expect, stranger
from tests.support.processes import ROOT

FOLDER = ROOT / "docs/images"
MOST_BYTES, MOST_PIXELS = 200_000, 1500
TRAFFIC_SECONDS = 60.0

DESK: ViewportSize = {"width": 1280, "height": 500}
PHONE: ViewportSize = {"width": 390, "height": 844}

CLIENTS = (
    ("claude-code", "2.1.14", "grace"),
    ("Visual Studio Code", "1.118.0", "ada"),
    ("cursor-vscode", "1.0.0", "linus"),
    ("codex-mcp-client", "0.98.0", "barbara"),
    ("openai-mcp", "1.0.0", "edsger"),
    ("goose", "1.24.0", "margaret"),
    ("Zed", "0.221.5", "ken"),
    ("gemini-cli-mcp-client", "0.30.1", "radia"),
    ("n8n-mcp-client", "1.2.0", "orders-bot"),
    ("LibreChat", "0.9.2", "frances"),
    ("mcp-inspector", "2.12.0", "grace"),
    ("claude-ai", "0.1.0", "alan"),
)
PRODUCTS = ("mugs", "tea pots", "spoons", "plates", "bowls", "kettles")


async def be_busy(agent: Agent, chance: random.Random) -> None:
    """Call tools at a pace of one's own, until it is cancelled."""
    pause = chance.uniform(0.1, 1.5)
    while True:
        product = chance.choice(PRODUCTS)
        await agent.call("search_products", text=product)
        if chance.random() < 0.05:
            await agent.call("place_order", product=product)
        await asyncio.sleep(chance.expovariate(1 / pause))


async def take(watcher: Visitor, name: str) -> None:
    """Write a picture of the page, down to where readers have seen enough."""
    file = FOLDER / f"{name}.png"
    size = await watcher.page.evaluate("[window.innerWidth, document.documentElement.scrollHeight]")
    whole: FloatRect = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], MOST_PIXELS)}
    await watcher.page.screenshot(path=file, full_page=True, clip=whole)
    length = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {length / 1000:.0f} kB")
    assert length < MOST_BYTES, f"{file.name} is larger than {MOST_BYTES / 1000:.0f} kB"


async def picture_the_desk(grace: Visitor, busy: Agent) -> None:
    """Take the pictures of a large screen in the daytime."""
    await grace.open()
    await take(grace, "admin-list")
    await grace.open(f"{busy.key}/change/")
    await expect(grace.line("notifications/progress").first).to_be_visible()
    await take(grace, "admin-detail")
    await grace.open(f"{busy.key}/delete/")
    await take(grace, "admin-end")
    await grace.open("dashboard/")
    await take(grace, "admin-dashboard")


async def picture_all(browser: Browser, stage: AdminStage, busy: Agent) -> None:
    """Take all pictures."""
    async with stranger(browser, stage.nodes[0]) as grace:
        await grace.log_in()
        await grace.page.set_viewport_size(DESK)
        await picture_the_desk(grace, busy)
        await grace.page.emulate_media(color_scheme="dark")
        await grace.open("dashboard/")
        await take(grace, "admin-dashboard-dark")
        await grace.page.set_viewport_size(PHONE)
        await grace.open()
        await take(grace, "admin-list-dark-390")


async def main() -> None:
    """Start the nodes, let clients work for a while, look."""
    chance = random.Random(7)  # noqa: S311
    with AdminStage() as stage:
        async with chromium() as browser, AsyncExitStack() as stack:
            agents = [
                await stack.enter_async_context(stage.agent(number % 2, name, user, version))
                for number, (name, version, user) in enumerate(CLIENTS)
            ]
            for number, agent in enumerate(agents[:3]):
                stage.allow(f"import-{number}", 3 + 2 * number)
                agent.begin("import_orders", name=f"import-{number}")
            print(f"Clients work for {TRAFFIC_SECONDS:g} s.")
            work = [asyncio.create_task(be_busy(agent, chance)) for agent in agents]
            await asyncio.sleep(TRAFFIC_SECONDS)
            await picture_all(browser, stage, agents[0])
            for task in work:
                task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
