"""What is hidden from a caller: looked for like anything else, and not found (docs/adr/0023)."""

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

__all__ = ["hide", "hiding", "is_hidden"]

Exists = Callable[[str, str], bool]
"""Tells whether there is a `resource` under a URI, a `template` under that or its own, a `prompt` under a name."""

# The kind and the name of what the request being served must not find.
_hidden: ContextVar[tuple[str, str] | None] = ContextVar("hidden", default=None)

# Finds nothing, and says so as the SDK does.
_NO_RESOURCES: Final = ResourceManager()


@contextmanager
def hiding(kind: str, name: str) -> Iterator[None]:
    """Have the registries of a server that `hide` prepared find nothing under a name."""
    token = _hidden.set((kind, name))
    try:
        yield
    finally:
        _hidden.reset(token)


def is_hidden(kind: str, name: object) -> bool:
    """Tell whether a name, or a URI, is to be taken for one under which there is nothing."""
    return _hidden.get() == (kind, name)


def hide(server: MCPServer[Any], target: Server[Any], exists: Exists) -> None:
    """Prepare a server, and the low-level one inside it, for requests whose name is hidden.

    They go the whole way, up to where names are looked up. What is not looked up is judged before its handler, for
    missing names as well: a completion is refused, a subscription is answered and not kept.
    """
    _hide_in_registries(server)

    def is_known(kind: str, name: str) -> bool:
        return not is_hidden(kind, name) and exists(kind, name)

    def complete(params: Any) -> None:
        ref = params.ref
        if ref.type == "ref/prompt" and not is_known("prompt", ref.name):
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {ref.name[:128]}")
        if ref.type == "ref/resource" and not is_known("template", ref.uri):
            raise MCPError(INVALID_PARAMS, f"Unknown resource: {ref.uri[:128]}")

    def subscribe(params: Any) -> EmptyResult | None:
        return None if is_known("resource", params.uri) else EmptyResult()

    _put_before(target, "completion/complete", complete)
    _put_before(target, "resources/subscribe", subscribe)
    _put_before(target, "resources/unsubscribe", subscribe)


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

    # The SDK has no hook here, but looks everything up by these.
    vars(tools).update(get_tool=visible_tool)
    vars(prompts).update(get_prompt=visible_prompt, list_prompts=visible_prompts)
    vars(resources).update(get_resource=visible_resource)


def _put_before(target: Server[Any], method: str, judge: Callable[[Any], EmptyResult | None]) -> None:
    """Have a method's handler run only if `judge`, which sees its validated parameters, answers nothing."""
    if (entry := target.get_request_handler(method)) is None:
        return

    async def handle(ctx: Any, params: Any) -> HandlerResult:
        answer: HandlerResult = judge(params)
        return answer if answer is not None else await entry.handler(ctx, params)

    target.add_request_handler(method, entry.params_type, handle)
