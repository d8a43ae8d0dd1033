"""Authorize the use of tools, resources and prompts: a caller sees nothing that it may not use (docs/adr/0023)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.principal import Principal
from mcp_transport.kernel.errors import is_cancellation
from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.limits import listen_uris
from mcp_transport.kernel.visibility import install_hiding
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["Access", "request_target"]

# The member that holds the items of a list, the kind of the items, and the member that identifies one.
_LISTS: Final = {
    "tools/list": ("tools", "tool", "name"),
    "prompts/list": ("prompts", "prompt", "name"),
    "resources/list": ("resources", "resource", "uri"),
    "resources/templates/list": ("resourceTemplates", "resource", "uriTemplate"),
}
_TARGET_KINDS: Final = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "resource",
    "resources/subscribe": "resource",
    "resources/unsubscribe": "resource",
}

_Key = tuple[str, str]

logger = logging.getLogger(__name__)


class Access:
    """The access rules of one server, by kind (`tool`, `prompt`, `resource`) and by name, URI or URI template.

    Raises: TypeError for rules of a server that is not an `MCPServer`.
    """

    def __init__(self, server: Any, rules: Mapping[_Key, AccessRule]) -> None:
        if rules and not isinstance(server, MCPServer):
            raise TypeError(f"access rules need an MCPServer, got {type(server).__name__}")
        self._rules, self._server = rules, server
        self._samples = {kind: rule for (kind, _), rule in rules.items() if rule.permits is not None}
        """One hiding rule of each kind. Missing names are checked against it, too, so that timing reveals nothing."""
        if "resource" in self._samples:
            self._samples["template"] = self._samples["resource"]
        if self._samples:
            target = lowlevel(server)
            install_hiding(server, target, self._exists)
            target.middleware.append(_ListFilter(self))

    def __bool__(self) -> bool:
        return bool(self._rules)

    async def apply(self, request: Request, principal: Principal) -> Request:
        """Return the request, marked as hidden when its caller may not use the target."""
        if request.method == "subscriptions/listen":
            return await self._visible_subscriptions(request, principal)
        if (target := request_target(request)) is None:
            return request
        key = self._key(*target)
        permitted = await _permits(self._rule(target[0], key), principal)
        return request if permitted or key is None else replace(request, hidden=True)

    def scopes(self, request: Request) -> frozenset[str]:
        """Return the scopes that a request needs; subscribing to a resource needs those of reading it."""
        if request.method == "subscriptions/listen":
            keys = [self._key("resource", uri) for uri in listen_uris(request)]
        else:
            keys = [self._key(*target)] if (target := request_target(request)) is not None else []
        rules = [self._rules.get(key) for key in keys if key is not None]
        return frozenset[str]().union(*(rule.scopes for rule in rules if rule is not None))

    def _rule(self, kind: str, key: _Key | None) -> AccessRule | None:
        return self._rules.get(key) if key is not None else self._samples.get(kind)

    def _exists(self, kind: str, name: str) -> bool:
        """Return whether a name exists; True without a lookup where no rule hides anything of its kind."""
        return kind not in self._samples or self._key(kind, name) is not None

    def _key(self, kind: str, name: object) -> _Key | None:
        """Return the key under which a target's rule is stored; None if the SDK would not find the target."""
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
        with suppress(ValueError):  # the SDK refuses to match such a URI, so it reads nothing
            for template in resources._templates.values():  # the SDK reads the first match
                if template.matches(name) is not None:
                    return ("resource", str(template.uri_template))
        return None

    async def _visible_subscriptions(self, request: Request, principal: Principal) -> Request:
        """Remove the URIs of hidden resources, and of missing ones, which must look the same."""
        if "resource" not in self._samples or not (uris := listen_uris(request)):
            return request
        keys = [self._key("resource", uri) for uri in uris]
        permitted = {key: await _permits(self._rule("resource", key), principal) for key in set(keys)} | {None: False}
        # The SDK refuses a URI that is not a string.
        visible = [uri for uri, key in zip(uris, keys, strict=True) if permitted[key] or not isinstance(uri, str)]
        params = request.params or {}
        notifications = {**params["notifications"], "resourceSubscriptions": visible}
        return replace(request, params={**params, "notifications": notifications})

    async def is_listed(self, kind: str, name: object, principal: Principal) -> bool:
        """Return whether lists show an item to a caller."""
        return await _permits(self._rules.get((kind, str(name))), principal)


class _ListFilter:
    """Middleware that removes hidden items from lists, and marks these as private (2026-07-28, caching)."""

    allows_fast_path = True

    def __init__(self, access: Access) -> None:
        self._access = access

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.method not in _LISTS or not isinstance(result, dict):
            return result
        member, kind, name = _LISTS[ctx.method]
        principal = ctx.request.principal if ctx.request is not None else Principal()
        items = [it for it in result.get(member, []) if await self._access.is_listed(kind, it.get(name), principal)]
        scope = {"cacheScope": "private"} if "cacheScope" in result else {}
        return {**result, member: items, **scope}


def request_target(request: Request) -> _Key | None:
    """Return the kind and the name, URI or template of a request's target; None where it names none."""
    params, method = request.params or {}, request.method
    if method in _TARGET_KINDS:
        kind, name = _TARGET_KINDS[method], params.get("uri" if _TARGET_KINDS[method] == "resource" else "name")
    elif method == "completion/complete" and isinstance(reference := params.get("ref"), Mapping):
        is_prompt = reference.get("type") == "ref/prompt"
        kind, name = ("prompt", reference.get("name")) if is_prompt else ("template", reference.get("uri"))
    else:
        return None
    return (kind, name) if isinstance(name, str) else None


async def _permits(rule: AccessRule | None, principal: Principal) -> bool:
    """Return whether a rule lets a caller see its target; False when the check fails, so that lists still work."""
    try:
        return rule is None or rule.permits is None or await rule.permits(principal)
    except BaseException as error:
        if is_cancellation(error):
            raise
        failure = error
    # Outside the `except`: an exception in a logging handler would otherwise carry this one, with its text.
    logger.error("the visibility check of a tool, prompt or resource failed", exc_info=failure)
    return False
