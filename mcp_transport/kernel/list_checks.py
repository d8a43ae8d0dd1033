"""Detect declarations that would make a whole list fail."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, Final

import orjson
from mcp.server.mcpserver import MCPServer
from mcp_types import ListPromptsResult, ListResourcesResult, ListResourceTemplatesResult, ListToolsResult
from mcp_types.methods import serialize_server_result
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from mcp_transport.kernel.validation_errors import explain
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["listing_fault", "tool_name_fault"]

_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")

_KINDS: Final[dict[str, tuple[str, type[BaseModel]]]] = {
    "tools/list": ("tools", ListToolsResult),
    "prompts/list": ("prompts", ListPromptsResult),
    "resources/list": ("resources", ListResourcesResult),
    "resources/templates/list": ("resource_templates", ListResourceTemplatesResult),
}


def listing_fault(server: MCPServer[Any]) -> str:
    """Return why a server's lists cannot be sent at one of the revisions, or ""."""
    for method, (member, kind) in _KINDS.items():
        try:
            items = _run_without_loop(getattr(server, f"list_{member}")())
            result = kind.model_validate({member: items}, by_name=True)
            data = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            for version in REVISIONS:
                orjson.dumps(serialize_server_result(method, version, data))
        except ValidationError as error:
            return explain(error)
        except (PydanticSerializationError, UnicodeError, TypeError) as error:
            return str(error)
    return ""


def tool_name_fault(name: str) -> str:
    """Return why a tool's name is invalid, or "" (2025-11-25, server/tools).

    Some clients drop the whole list for one invalid name.
    """
    if _TOOL_NAME.fullmatch(name):
        return ""
    return f"the tool name {name[:128]!r} must have 1 to 128 ASCII letters, digits, '_', '-' and '.'"


def _run_without_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the SDK's list methods must not suspend")
