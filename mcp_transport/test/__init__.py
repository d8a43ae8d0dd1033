"""An MCP client for the tests of a project: in the same process, through its middleware and the whole endpoint."""

from __future__ import annotations

from mcp_transport.test.client import MCPClient
from mcp_transport.test.results import Log, Progress, PromptResult, ResourceResult, Result, ToolResult

__all__ = ["Log", "MCPClient", "Progress", "PromptResult", "ResourceResult", "Result", "ToolResult"]
