"""Tools that a test steers from another process, through files in SITE_FOLDER.

A call named `name` goes on to the step whose number is in `<name>.allowed`, and writes `<name>.cancelled` when it is
cancelled.
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from mcp_transport import CircuitBreaker, Context, tool
from tests.browser.site.settings import FOLDER


def _allowed(name: str) -> int:
    file = FOLDER / f"{name}.allowed"
    return int(file.read_text()) if file.exists() else 0


@tool
async def import_orders(ctx: Context, name: str, total: int = 10, text: str = "") -> str:
    """Report each step that the test allows, answer after the last one."""
    try:
        for step in range(1, total + 1):
            while _allowed(name) < step:  # noqa: ASYNC110 (another process allows it)
                await asyncio.sleep(0.02)
            await ctx.report_progress(step, total, text or f"order {step}")
    except asyncio.CancelledError:
        (FOLDER / f"{name}.cancelled").touch()
        raise
    return f"{total} orders imported"


class Consent(BaseModel):
    """What a user is asked for."""

    agrees: bool


@tool
async def cancel_order(ctx: Context, order: int) -> str:
    """Ask the user, and say what they have answered."""
    answer = await ctx.elicit(f"Cancel order {order}?", Consent)
    return f"the user's answer: {answer.action}"


@tool
async def search_products(text: str) -> str:
    """Return what is searched for."""
    return f"nothing is called {text}"


@tool
async def place_order(product: str) -> str:
    """Fail."""
    raise ValueError(f"{product} is sold out")


@tool(circuit_breaker=CircuitBreaker(min_calls=1, open_for=600.0, max_open_for=600.0))
async def track_parcel(parcel: str) -> str:
    """Ask a service that is down."""
    raise ConnectionError("the service does not answer")
