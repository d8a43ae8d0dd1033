"""The tools that this project declares, as JSON."""

from __future__ import annotations

from typing import Any

from mcp_transport import conf
from mcp_transport.discovery import declared

__all__ = ["tools_are_declared", "tools_json"]


def tools_are_declared() -> bool:
    """Return whether the project declares its tools; a server of `SERVER` would have to run to list them."""
    return conf.get("SERVER") is None


def tools_json() -> list[dict[str, Any]]:
    """Describe the declared tools, in order, including those that few users may use."""
    return [_tool_json(tool) for tool in declared().tools.values()]


def _tool_json(tool: Any) -> dict[str, Any]:
    hints = ("read_only", "destructive", "idempotent", "open_world")
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description or None,
        "hints": {name: getattr(tool.annotations, f"{name}_hint", None) for name in hints},
    }
