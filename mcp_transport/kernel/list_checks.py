"""What in a declaration would take a whole list down with it."""

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

from mcp_transport.kernel.validation_errors import described
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
    """Say why a server's lists cannot be sent in each of the revisions."""
    for method, (member, kind) in _KINDS.items():
        try:
            listed = kind.model_validate({member: _at_once(getattr(server, f"list_{member}")())}, by_name=True)
            plain = listed.model_dump(mode="json", by_alias=True, exclude_none=True)
            for version in REVISIONS:
                orjson.dumps(serialize_server_result(method, version, plain))
        except ValidationError as error:
            return described(error)
        except (PydanticSerializationError, UnicodeError, TypeError) as error:
            return str(error)
    return ""


def tool_name_fault(name: str) -> str:
    """Say what a tool's name must look like (2025-11-25, server/tools); some clients drop the whole list for one."""
    if _TOOL_NAME.fullmatch(name):
        return ""
    return f"the tool's name {name[:128]!r} must have 1 to 128 letters of ASCII, digits, '_', '-' and '.'"


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("the SDK's lists wait for something")
