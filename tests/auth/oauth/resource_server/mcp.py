"""The tools: one for everybody who may come in at all, one that needs more, two that keep state."""

from __future__ import annotations

from pydantic import BaseModel

from mcp_transport import Context, tool


class Caller(BaseModel):
    """Whom the server takes its caller for."""

    issuer: str
    subject: str
    name: str
    scopes: list[str]


@tool(read_only=True)
async def whoami(ctx: Context) -> Caller:
    """Say who calls."""
    who = ctx.principal
    return Caller(issuer=who.issuer, subject=who.subject, name=who.name, scopes=sorted(who.scopes or ()))


@tool(read_only=True)
async def read_orders() -> list[str]:
    """List the orders."""
    return ["SO-1", "SO-2"]


@tool(scopes=["orders:write"])
async def write_order(sku: str) -> str:
    """Order something."""
    return f"ordered {sku}"


@tool
async def remember(value: str, ctx: Context) -> str:
    """Keep a value in the session."""
    await ctx.session.set("value", value)
    return "kept"


@tool(read_only=True)
async def recall(ctx: Context) -> str:
    """Return the value kept in the session."""
    return str(await ctx.session.get("value", "nothing"))
