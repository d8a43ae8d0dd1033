"""An MCP client for several endpoints of one server: `async with Client([...]) as client:`."""

from __future__ import annotations

from mcp_transport.client.client import Client
from mcp_transport.client.errors import ClientError, EndpointsUnavailable, ResultUnknown
from mcp_transport.client.sessions import SavedSession
from mcp_transport.client.sync import SyncClient

__all__ = ["Client", "ClientError", "EndpointsUnavailable", "ResultUnknown", "SavedSession", "SyncClient"]
