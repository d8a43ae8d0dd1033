"""What operators are told of the tools that this project declares."""

from __future__ import annotations

from typing import Any

from mcp_transport import conf
from mcp_transport.discovery import declared

__all__ = ["knows_tools", "tool_records"]


def knows_tools() -> bool:
    """Tell whether tools are declared here; a server of the project's own would have to be started to be asked."""
    return conf.get("SERVER") is None


def tool_records() -> list[dict[str, Any]]:
    """Describe the declared tools, in order, whoever may use them."""
    return [_record(tool) for tool in declared().tools.values()]


def _record(tool: Any) -> dict[str, Any]:
    hints = ("read_only", "destructive", "idempotent", "open_world")
    return {
        "name": tool.name,
        "title": tool.title,
        "description": tool.description or None,
        "hints": {name: getattr(tool.annotations, f"{name}_hint", None) for name in hints},
    }
