"""Who may use which tools, resources and prompts of a server: what a caller may not use does not exist for it."""

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
from mcp_transport.kernel.limits import subscribed
from mcp_transport.kernel.visibility import hide
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["Access", "target_of"]

# Where lists keep their items, what kind these are, and by what they are known.
_LISTS: Final = {
    "tools/list": ("tools", "tool", "name"),
    "prompts/list": ("prompts", "prompt", "name"),
    "resources/list": ("resources", "resource", "uri"),
    "resources/templates/list": ("resourceTemplates", "resource", "uriTemplate"),
}
_NAMED: Final = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "resource",
    "resources/subscribe": "resource",
    "resources/unsubscribe": "resource",
}

_Key = tuple[str, str]

logger = logging.getLogger(__name__)


class Access:
    """The rules of one server, by kind (`tool`, `prompt`, `resource`) and by name, URI or URI template.

    Raises: TypeError for rules of a server that is no `MCPServer`.
    """

    def __init__(self, server: Any, rules: Mapping[_Key, AccessRule]) -> None:
        if rules and not isinstance(server, MCPServer):
            raise TypeError(f"rules of access need an MCPServer, got {type(server).__name__}")
        self._rules, self._server = rules, server
        self._samples = {kind: rule for (kind, _), rule in rules.items() if rule.permits is not None}
        """By kind, a rule that hides; judged by it, what does not exist takes the time of what is hidden."""
        if "resource" in self._samples:
            self._samples["template"] = self._samples["resource"]
        if self._samples:
            target = lowlevel(server)
            hide(server, target, self._exists)
            target.middleware.append(_Lists(self))

    def __bool__(self) -> bool:
        return bool(self._rules)

    async def judged(self, request: Request, principal: Principal) -> Request:
        """Return a request as its caller may make it: hidden when it asks for what the caller may not use."""
        if request.method == "subscriptions/listen":
            return await self._visible_subscriptions(request, principal)
        if (asked := target_of(request)) is None:
            return request
        key = self._key(*asked)
        permitted = await _permits(self._rule(asked[0], key), principal)
        return request if permitted or key is None else replace(request, hidden=True)

    def scopes(self, request: Request) -> frozenset[str]:
        """Return the scopes that a request needs; to hear of a resource takes those of reading it."""
        if request.method == "subscriptions/listen":
            keys = [self._key("resource", uri) for uri in subscribed(request)]
        else:
            keys = [self._key(*asked)] if (asked := target_of(request)) is not None else []
        rules = [self._rules.get(key) for key in keys if key is not None]
        return frozenset[str]().union(*(rule.scopes for rule in rules if rule is not None))

    def _rule(self, kind: str, key: _Key | None) -> AccessRule | None:
        return self._rules.get(key) if key is not None else self._samples.get(kind)

    def _exists(self, kind: str, name: str) -> bool:
        """Tell whether there is something under a name; yes, where nothing of its kind is ever hidden."""
        return kind not in self._samples or self._key(kind, name) is not None

    def _key(self, kind: str, name: object) -> _Key | None:
        """Return where the rule of something stands, if it has one; None if the SDK would not find that thing."""
        if not isinstance(name, str):
            return None
        if kind == "tool":
            return (kind, name) if self._server._tool_manager.get_tool(name) is not None else None
        if kind == "prompt":
            return (kind, name) if self._server._prompt_manager.get_prompt(name) is not None else None
        resources = self._server._resource_manager
        if name in resources._resources or (kind == "template" and name in resources._templates):
            return ("resource", name)
        with suppress(ValueError):  # a URI that the SDK refuses to match reads nothing
            for template in resources._templates.values():  # the first one that matches is read
                if template.matches(name) is not None:
                    return ("resource", str(template.uri_template))
        return None

    async def _visible_subscriptions(self, request: Request, principal: Principal) -> Request:
        """Leave out the URIs of hidden resources and, so that these are not told from them, of missing ones."""
        if "resource" not in self._samples or not (uris := subscribed(request)):
            return request
        keys = [self._key("resource", uri) for uri in uris]
        shown = {key: await _permits(self._rule("resource", key), principal) for key in set(keys)} | {None: False}
        # What is no text is the SDK's to refuse.
        kept = [uri for uri, key in zip(uris, keys, strict=True) if shown[key] or not isinstance(uri, str)]
        params = request.params or {}
        wanted = {**params["notifications"], "resourceSubscriptions": kept}
        return replace(request, params={**params, "notifications": wanted})

    async def shows(self, kind: str, name: object, principal: Principal) -> bool:
        """Tell whether lists shall show something to a caller."""
        return await _permits(self._rules.get((kind, str(name))), principal)


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


def target_of(request: Request) -> _Key | None:
    """Return the kind and the name, URI or template of what a request asks for; None where it names nothing."""
    params, method = request.params or {}, request.method
    if method in _NAMED:
        kind, name = _NAMED[method], params.get("uri" if _NAMED[method] == "resource" else "name")
    elif method == "completion/complete" and isinstance(reference := params.get("ref"), Mapping):
        is_prompt = reference.get("type") == "ref/prompt"
        kind, name = ("prompt", reference.get("name")) if is_prompt else ("template", reference.get("uri"))
    else:
        return None
    return (kind, name) if isinstance(name, str) else None


async def _permits(rule: AccessRule | None, principal: Principal) -> bool:
    """Tell whether a caller may know of something; what cannot be judged is hidden, and takes no list with it."""
    try:
        return rule is None or rule.permits is None or await rule.permits(principal)
    except BaseException as error:
        if is_cancellation(error):
            raise
        failure = error
    # Not in the `except`: what fails in a handler of logging would have this, with its text, as its context.
    logger.error("who may use a tool, prompt or resource cannot be judged", exc_info=failure)
    return False
