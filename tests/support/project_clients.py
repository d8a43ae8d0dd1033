"""Clients of MCP that come to another process than the one an operator asks."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync

from mcp_transport import bootstrap
from tests.support.client import SessionClient

__all__ = ["open_session", "status_of_ping"]


@async_to_sync
async def open_session(user: Any = None) -> SessionClient:
    """Open a session as another process would, which then ends."""
    client = SessionClient(bootstrap.endpoint(), user=user)
    await client.open()
    await client.endpoint.pool.stop()
    return client


@async_to_sync
async def status_of_ping(client: SessionClient) -> int:
    try:
        return (await client.request("ping")).status
    finally:
        await client.endpoint.pool.stop()
