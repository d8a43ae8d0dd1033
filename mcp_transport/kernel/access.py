"""Who may use which tools, resources and prompts of a server: what a caller may not use does not exist for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError

from mcp_transport.kernel.handlers import lowlevel
from mcp_transport.kernel.limits import MAX_URI, subscribed
from mcp_transport.protocol.errors import INVALID_PARAMS, RESOURCE_NOT_FOUND
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["Access", "Rule", "refuse_hidden"]

# Where lists keep their items, what kind these are, and by what they are known.
_LISTS: Final = {
    "tools/list": ("tools", "tool", "name"),
    "prompts/list": ("prompts", "prompt", "name"),
    "resources/list": ("resources", "resource", "uri"),
    "resources/templates/list": ("resourceTemplates", "resource", "uriTemplate"),
}
_NAMED: Final = {"tools/call": "tool", "prompts/get": "prompt"}
_READ: Final = ("resources/read", "resources/subscribe", "resources/unsubscribe")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the use of one tool, resource or prompt asks of its caller."""

    scopes: frozenset[str] = frozenset()
    """Without them the caller is told which to get."""
    permits: Callable[[Principal], Awaitable[bool]] | None = None
    """Without its consent the caller is not told that there is anything."""


class Access:
    """The rules of one server, by kind (`tool`, `resource`, `prompt`) and by name, URI or URI template."""

    def __init__(self, server: Any, rules: Mapping[tuple[str, str], Rule]) -> None:
        self._rules = rules
        self._resources: Any = server._resource_manager if rules and isinstance(server, MCPServer) else None
        hiding = {kind for (kind, _), rule in rules.items() if rule.permits is not None}
        self._hides_resources = "resource" in hiding
        if hiding:
            lowlevel(server).middleware.append(_Lists(self))

    def __bool__(self) -> bool:
        return bool(self._rules)

    async def judged(self, request: Request, principal: Principal) -> Request:
        """Return a request as its caller may make it: hidden when it asks for what the caller may not use."""
        if request.method == "subscriptions/listen":
            return await self._visible_subscriptions(request, principal)
        rule = self._rule(request)
        return request if rule is None or await _permits(rule, principal) else replace(request, hidden=True)

    def scopes(self, request: Request) -> frozenset[str]:
        """Return the scopes that a request needs; to hear of a resource takes those of reading it."""
        if request.method == "subscriptions/listen":
            rules = [self._resource_rule(uri) for uri in subscribed(request)]
        else:
            rules = [self._rule(request)]
        return frozenset[str]().union(*(rule.scopes for rule in rules if rule is not None))

    def _rule(self, request: Request) -> Rule | None:
        params = request.params or {}
        if request.method in _NAMED:
            return self._find(_NAMED[request.method], params.get("name"))
        if request.method in _READ:
            return self._resource_rule(params.get("uri"))
        if request.method == "completion/complete" and isinstance(reference := params.get("ref"), Mapping):
            if reference.get("type") == "ref/prompt":
                return self._find("prompt", reference.get("name"))
            return self._find("resource", reference.get("uri")) or self._resource_rule(reference.get("uri"))
        return None

    def _find(self, kind: str, name: object) -> Rule | None:
        return self._rules.get((kind, name)) if isinstance(name, str) else None

    def _resource_rule(self, uri: object) -> Rule | None:
        return self._find("resource", self._resource(uri))

    def _resource(self, uri: object) -> str | None:
        """Return what the SDK would read: the resource of that very URI, else the first template; or None."""
        if self._resources is None or not isinstance(uri, str) or len(uri) > MAX_URI:
            return None
        if uri in self._resources._resources:
            return uri
        with suppress(ValueError):  # a URI that the SDK refuses to match reads nothing
            for template in self._resources._templates.values():
                if template.matches(uri) is not None:
                    return str(template.uri_template)
        return None

    async def _visible_subscriptions(self, request: Request, principal: Principal) -> Request:
        """Leave out the URIs of hidden resources and, so that these are not told from them, of missing ones."""
        if not self._hides_resources or not (uris := subscribed(request)):
            return request
        found = {uri: self._resource(uri) for uri in uris if isinstance(uri, str)}
        # Once for each of them: it takes a thread to ask for a permission.
        shown = {name for name in {*found.values()} - {None} if await self.shows("resource", name, principal)}
        # What is no text is the SDK's to refuse.
        kept = [uri for uri in uris if not isinstance(uri, str) or found[uri] in shown]
        params = request.params or {}
        wanted = {**params["notifications"], "resourceSubscriptions": kept}
        return replace(request, params={**params, "notifications": wanted})

    async def shows(self, kind: str, name: object, principal: Principal) -> bool:
        """Tell whether lists shall show something to a caller."""
        rule = self._find(kind, name)
        return rule is None or await _permits(rule, principal)


class _Lists:
    """Leaves out of lists what their caller may not use; such a list is for nobody else (2026-07-28, caching)."""

    passes_plain_calls = True

    def __init__(self, access: Access) -> None:
        self._access = access

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.method not in _LISTS or not isinstance(result, dict):
            return result
        member, kind, name = _LISTS[ctx.method]
        principal = ctx.request.principal if ctx.request is not None else Principal()
        kept = [item for item in result.get(member, []) if await self._access.shows(kind, item.get(name), principal)]
        own = {"cacheScope": "private"} if "cacheScope" in result else {}
        return {**result, member: kept, **own}


async def _permits(rule: Rule, principal: Principal) -> bool:
    return rule.permits is None or await rule.permits(principal)


def refuse_hidden(request: Request, version: str) -> dict[str, Any]:
    """Answer a hidden request as one for what does not exist.

    Raises: MCPError, the very one that an unknown name gets.
    """
    params = request.params or {}
    if request.method in ("resources/subscribe", "resources/unsubscribe"):
        return {}  # one may wait for what will never be
    if request.method == "resources/read":
        code = RESOURCE_NOT_FOUND if REVISIONS[version].sessionful else INVALID_PARAMS
        uri = str(params.get("uri"))
        raise MCPError(code, f"Unknown resource: {uri}", {"uri": uri})
    if request.method == "tools/call":
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {_short(params.get('name'))}")
    reference = params.get("ref", params)
    kind = "resource" if reference.get("type") == "ref/resource" else "prompt"
    raise MCPError(INVALID_PARAMS, f"Unknown {kind}: {_short(reference.get('name', reference.get('uri')))}")


def _short(name: object) -> str:
    return str(name)[:128]
