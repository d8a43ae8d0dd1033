"""Hide tools, prompts and resources from a caller: lookups run as usual and find nothing (docs/adr/0023)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resources import ResourceManager
from mcp.shared.exceptions import MCPError
from mcp_types import EmptyResult

from mcp_transport.domain.principal import Principal
from mcp_transport.kernel.text_arguments import match_template
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.targets import Target

__all__ = ["Visibility", "hiding", "is_hidden"]

IsListed = Callable[[str, object, Principal], Awaitable[bool]]
"""Returns whether lists show an item, given by its kind and its name, URI or URI template, to a caller."""

# The member that holds the items of a list, the kind of the items, and the member that identifies one.
_LISTS: Final = {
    "tools/list": ("tools", "tool", "name"),
    "prompts/list": ("prompts", "prompt", "name"),
    "resources/list": ("resources", "resource", "uri"),
    "resources/templates/list": ("resourceTemplates", "resource", "uriTemplate"),
}

# The kind and the name of the hidden target of the request being served.
_hidden: ContextVar[Target | None] = ContextVar("hidden", default=None)

# Raises the SDK's own error for a missing resource.
_NO_RESOURCES: Final = ResourceManager()


@contextmanager
def hiding(target: Target | None) -> Iterator[None]:
    """Hide a target in the registries of a server that `Visibility.install` has prepared."""
    token = _hidden.set(target)
    try:
        yield
    finally:
        _hidden.reset(token)


def is_hidden(kind: str, name: object) -> bool:
    """Return whether a name or URI is hidden in the request being served."""
    return _hidden.get() == (kind, name)


class Visibility:
    """Looks up the names of an `MCPServer`, and hides some of them from some callers.

    Raises: TypeError for any other server.
    """

    def __init__(self, server: Any) -> None:
        if not isinstance(server, MCPServer):
            raise TypeError(f"access rules need an MCPServer, got {type(server).__name__}")
        self._server, self._kinds = server, frozenset[str]()

    def key(self, kind: str, name: object) -> Target | None:
        """Return the key of a target's access rule; None if the SDK would not find the target."""
        if not isinstance(name, str):
            return None
        # The managers are private: the server's public methods list, call and render, but do not look up.
        if kind == "tool":
            return (kind, name) if self._server._tool_manager.get_tool(name) is not None else None
        if kind == "prompt":
            return (kind, name) if self._server._prompt_manager.get_prompt(name) is not None else None
        resources = self._server._resource_manager  # `get_resource` would run a matching template's function
        if name in resources._resources or (kind == "template" and name in resources._templates):
            return ("resource", name)
        match = match_template(resources, name)
        return ("resource", str(match[0].uri_template)) if match is not None else None

    def install(self, kinds: Iterable[str], is_listed: IsListed) -> None:
        """Prepare the server for requests with a hidden target of one of the `kinds`.

        Such requests run as usual up to the lookup of the name. Methods without a lookup are checked before their
        handler, and treat hidden and missing names alike: a completion is refused, a subscription is ignored.
        """
        self._kinds, target = frozenset(kinds), self._server._lowlevel_server
        _hide_in_registries(self._server)
        _check_before(target, "completion/complete", self._check_completion)
        _check_before(target, "resources/subscribe", self._ignore_subscription)
        _check_before(target, "resources/unsubscribe", self._ignore_subscription)
        target.middleware.append(_ListFilter(is_listed))

    def _is_visible(self, kind: str, name: str) -> bool:
        """Return whether a name exists and is not hidden; no lookup where no rule hides anything of its kind."""
        return not is_hidden(kind, name) and (kind not in self._kinds or self.key(kind, name) is not None)

    def _check_completion(self, params: Any) -> None:
        ref = params.ref
        if ref.type == "ref/prompt" and not self._is_visible("prompt", ref.name):
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {ref.name[:128]}")
        if ref.type == "ref/resource" and not self._is_visible("template", ref.uri):
            raise MCPError(INVALID_PARAMS, f"Unknown resource: {ref.uri[:128]}")

    def _ignore_subscription(self, params: Any) -> EmptyResult | None:
        return None if self._is_visible("resource", params.uri) else EmptyResult()


class _ListFilter:
    """Middleware that removes hidden items from lists, and marks these as private (2026-07-28, caching)."""

    allows_fast_path = True

    def __init__(self, is_listed: IsListed) -> None:
        self._is_listed = is_listed

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.method not in _LISTS or not isinstance(result, dict):
            return result
        member, kind, name = _LISTS[ctx.method]
        principal = ctx.request.principal if ctx.request is not None else Principal()
        items = [item for item in result.get(member, []) if await self._is_listed(kind, item.get(name), principal)]
        scope = {"cacheScope": "private"} if "cacheScope" in result else {}
        return {**result, member: items, **scope}


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
