"""An MCP client for a project's tests: in-process, through the project's middleware and the complete endpoint."""

from __future__ import annotations

from mcp_transport.test.client import MCPClient
from mcp_transport.test.results import Log, Progress, PromptResult, ResourceResult, Result, ToolResult

__all__ = ["Log", "MCPClient", "Progress", "PromptResult", "ResourceResult", "Result", "ToolResult"]
