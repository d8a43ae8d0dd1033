"""MCP over Streamable HTTP for Django: declare tools in `mcp.py`, serve them from any node."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from mcp_transport.batching import Batch
    from mcp_transport.context import Context
    from mcp_transport.domain.circuit_breaker import CircuitBreaker
    from mcp_transport.domain.principal import Principal
    from mcp_transport.server import completion, prompt, resource, tool

__all__ = [
    "Batch",
    "CircuitBreaker",
    "Context",
    "MCPServer",
    "Principal",
    "__version__",
    "completion",
    "prompt",
    "resource",
    "tool",
]

__version__ = "0.1.0"

# Imported at first use: the engine can be imported without Django, and the package without settings.
_MODULES = {
    "Batch": "mcp_transport.batching",
    "CircuitBreaker": "mcp_transport.domain.circuit_breaker",
    "Context": "mcp_transport.context",
    "MCPServer": "mcp.server.mcpserver",
    "Principal": "mcp_transport.domain.principal",
    "completion": "mcp_transport.server",
    "prompt": "mcp_transport.server",
    "resource": "mcp_transport.server",
    "tool": "mcp_transport.server",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
