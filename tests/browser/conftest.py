"""The browser, the nodes, and who sits in front of them; all tests share one loop, in which the browser lives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.support.programs import need

if TYPE_CHECKING:  # without playwright, these cannot be imported
    from playwright.async_api import Browser, BrowserContext

    from tests.browser.stage import AdminStage
    from tests.browser.visitor import Visitor


@pytest.fixture(scope="session")
def stage() -> Iterator[AdminStage]:
    """Run two nodes for all tests: nobody kills any of them."""
    from tests.browser.stage import AdminStage

    need("chromium", "redis-server")
    with AdminStage() as stage:
        yield stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    from tests.browser.visitor import chromium

    need("chromium")
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desk(browser: Browser, stage: AdminStage) -> AsyncIterator[BrowserContext]:
    """Log in somebody who may do all; her cookies are good for every node."""
    from tests.browser.visitor import visitor

    async with await browser.new_context() as context:
        async with visitor(context, stage.nodes[0]) as grace:
            await grace.log_in()
        yield context


@pytest_asyncio.fixture(loop_scope="session")
async def grace(desk: BrowserContext, stage: AdminStage) -> AsyncIterator[Visitor]:
    """Open a window of hers on the first node; her browser must not complain."""
    from tests.browser.visitor import visitor

    async with visitor(desk, stage.nodes[0]) as grace:
        yield grace
    assert grace.complaints == []
