"""Declares the tools."""

from __future__ import annotations

from mcp_transport import tool
from tests.support.site.tools import TOOLS

for function in TOOLS:
    tool(function)
