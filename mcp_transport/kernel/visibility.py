"""Hide tools, prompts and resources from a caller: lookups run as usual and find nothing (docs/adr/0023)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from mcp.server.context import HandlerResult
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resources import ResourceManager
from mcp.shared.exceptions import MCPError
from mcp_types import EmptyResult

from mcp_transport.protocol.errors import INVALID_PARAMS

__all__ = ["hiding", "install_hiding", "is_hidden"]

Exists = Callable[[str, str], bool]
"""Returns whether a `resource` exists for a URI, a `template` for a URI or URI template, a `prompt` for a name."""

# The kind and the name of the hidden target of the request being served.
_hidden: ContextVar[tuple[str, str] | None] = ContextVar("hidden", default=None)

# Raises the SDK's own error for a missing resource.
_NO_RESOURCES: Final = ResourceManager()


@contextmanager
def hiding(kind: str, name: str) -> Iterator[None]:
    """Hide a name in the registries of a server that was prepared by `install_hiding`."""
    token = _hidden.set((kind, name))
    try:
        yield
    finally:
        _hidden.reset(token)


def is_hidden(kind: str, name: object) -> bool:
    """Return whether a name or URI is hidden in the request being served."""
    return _hidden.get() == (kind, name)


def install_hiding(server: MCPServer[Any], target: Server[Any], exists: Exists) -> None:
    """Prepare a server, and the low-level one inside it, for requests with a hidden target.

    Such requests run as usual up to the lookup of the name. Methods without a lookup are checked before their
    handler, and treat hidden and missing names alike: a completion is refused, a subscription is ignored.
    """
    _hide_in_registries(server)

    def is_visible(kind: str, name: str) -> bool:
        return not is_hidden(kind, name) and exists(kind, name)

    def complete(params: Any) -> None:
        ref = params.ref
        if ref.type == "ref/prompt" and not is_visible("prompt", ref.name):
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {ref.name[:128]}")
        if ref.type == "ref/resource" and not is_visible("template", ref.uri):
            raise MCPError(INVALID_PARAMS, f"Unknown resource: {ref.uri[:128]}")

    def subscribe(params: Any) -> EmptyResult | None:
        return None if is_visible("resource", params.uri) else EmptyResult()

    _check_before(target, "completion/complete", complete)
    _check_before(target, "resources/subscribe", subscribe)
    _check_before(target, "resources/unsubscribe", subscribe)


def _hide_in_registries(server: MCPServer[Any]) -> None:
    tools, prompts, resources = server._tool_manager, server._prompt_manager, server._resource_manager
    get_tool, get_prompt, list_prompts = tools.get_tool, prompts.get_prompt, prompts.list_prompts
    get_resource = resources.get_resource

    def visible_tool(name: str) -> Any:
        return None if is_hidden("tool", name) else get_tool(name)

    def visible_prompt(name: str) -> Any:
        return None if is_hidden("prompt", name) else get_prompt(name)

    def visible_prompts() -> Any:
        return [prompt for prompt in list_prompts() if not is_hidden("prompt", prompt.name)]

    async def visible_resource(uri: Any, context: Any) -> Any:
        get = _NO_RESOURCES.get_resource if is_hidden("resource", str(uri)) else get_resource
        return await get(uri, context)

    # Patches the instances: the SDK has no hook here, but uses these methods for every lookup.
    vars(tools).update(get_tool=visible_tool)
    vars(prompts).update(get_prompt=visible_prompt, list_prompts=visible_prompts)
    vars(resources).update(get_resource=visible_resource)


def _check_before(target: Server[Any], method: str, check: Callable[[Any], EmptyResult | None]) -> None:
    """Run a method's handler only if `check` returns None for the validated parameters."""
    if (entry := target.get_request_handler(method)) is None:
        return

    async def handle(ctx: Any, params: Any) -> HandlerResult:
        result: HandlerResult = check(params)
        return result if result is not None else await entry.handler(ctx, params)

    target.add_request_handler(method, entry.params_type, handle)
