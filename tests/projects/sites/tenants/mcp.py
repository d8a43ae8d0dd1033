"""Declares tools that say whose tenant a call is served for."""

from asgiref.sync import sync_to_async
from django.db import connection

from mcp_transport import Context, tool


def _schema() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        shown: str = cursor.fetchone()[0]
    return shown.split(",")[0].strip().strip("\"'")


@tool
def sync_tenant() -> str:
    """Return the schema that queries meet first."""
    return _schema()


@tool
async def async_tenant(ctx: Context) -> str:
    """Return the schema that queries meet first, after a word to the client."""
    await ctx.report_progress(0, 1)
    return await sync_to_async(_schema)()
