"""Authorize the use of tools, resources and prompts: a caller sees nothing that it may not use (docs/adr/0023)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mcp_transport.domain.access_rule import AccessRule
from mcp_transport.domain.audit_events import AccessDenied
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.call_contexts import CallContexts
from mcp_transport.engine.clock import Clock
from mcp_transport.engine.observer import Observer
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import Visibility, is_cancellation
from mcp_transport.protocol.errors import INVALID_REQUEST
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Message, Request
from mcp_transport.protocol.request_checks import SessionlessPost, SessionPost
from mcp_transport.protocol.targets import LISTEN, Target, listen_uris, request_target

__all__ = ["Authorization", "StepUp", "audit_denial", "insufficient_scope"]

StepUp = Callable[[frozenset[str]], ProtocolError]
"""Builds the response to an operation that needs scopes which the credentials lack."""

logger = logging.getLogger(__name__)


@dataclass
class Authorization:
    """Applies access rules, which are stored by kind and by name, URI or URI template."""

    rules: Mapping[Target, AccessRule]
    visibility: Visibility
    observer: Observer
    clock: Clock
    step_up: StepUp
    call_context: CallContexts
    """The context in which rules are evaluated."""

    def __post_init__(self) -> None:
        self._samples = {kind: rule for (kind, _), rule in self.rules.items() if rule.permits is not None}
        """One hiding rule of each kind. Missing names are checked against it, too, so that timing reveals nothing."""
        if "resource" in self._samples:
            self._samples["template"] = self._samples["resource"]
        if self._samples:
            self.visibility.install(self._samples.keys(), self._is_listed)

    async def authorize(
        self, request: HTTPRequest, work: SessionlessPost | SessionPost, principal: Principal
    ) -> SessionlessPost | SessionPost:
        """Apply the rules to the messages of a POST. Raises: ProtocolError with 403 for missing scopes."""
        messages = await self.apply_to_all(request, work.messages, principal)
        requests = [item for item in messages if isinstance(item, Request)]
        for item in requests:
            if item.hidden:
                reason, body = "it may not be used by this caller", {"method": item.method, "params": item.params}
                audit_denial(self.observer, self.clock, request, principal, reason, body)
        needed = frozenset[str]().union(*(self._scopes(item) for item in requests if not item.hidden))
        if not principal.has_scopes(needed):
            raise self.step_up(needed)
        if isinstance(work, SessionPost):
            return replace(work, messages=tuple(messages))
        return SessionlessPost(*requests)

    async def apply_to_all(
        self, request: HTTPRequest | None, messages: Sequence[Message], principal: Principal
    ) -> list[Any]:
        """Mark the messages that are requests for hidden targets; without a `request`, calls run again."""
        async with self.call_context(request, principal):
            return [await self._apply(item, principal) if isinstance(item, Request) else item for item in messages]

    async def _apply(self, request: Request, principal: Principal) -> Request:
        """Return the request, marked as hidden when its caller may not use the target."""
        if request.method == LISTEN:
            return await self._visible_subscriptions(request, principal)
        if (target := request_target(request)) is None:
            return request
        key = self.visibility.key(*target)
        permitted = await _permits(self._rule(target[0], key), principal)
        return request if permitted or key is None else replace(request, hidden=True)

    def _scopes(self, request: Request) -> frozenset[str]:
        """Return the scopes that a request needs; subscribing to a resource needs those of reading it."""
        target = request_target(request)
        targets = [("resource", uri) for uri in listen_uris(request)] if request.method == LISTEN else [target]
        keys = [self.visibility.key(*each) for each in targets if each is not None]
        rules = [self.rules.get(key) for key in keys if key is not None]
        return frozenset[str]().union(*(rule.scopes for rule in rules if rule is not None))

    def _rule(self, kind: str, key: Target | None) -> AccessRule | None:
        return self.rules.get(key) if key is not None else self._samples.get(kind)

    async def _visible_subscriptions(self, request: Request, principal: Principal) -> Request:
        """Remove the URIs of hidden resources, and of missing ones, which must look the same."""
        if "resource" not in self._samples or not (uris := listen_uris(request)):
            return request
        keys = [self.visibility.key("resource", uri) for uri in uris]
        permitted = {key: await _permits(self._rule("resource", key), principal) for key in set(keys)} | {None: False}
        # The SDK refuses a URI that is not a string.
        visible = [uri for uri, key in zip(uris, keys, strict=True) if permitted[key] or not isinstance(uri, str)]
        params = request.params or {}
        notifications = {**params["notifications"], "resourceSubscriptions": visible}
        return replace(request, params={**params, "notifications": notifications})

    async def _is_listed(self, kind: str, name: object, principal: Principal) -> bool:
        return await _permits(self.rules.get((kind, str(name))), principal)


def audit_denial(
    observer: Observer, clock: Clock, request: HTTPRequest, principal: Principal, reason: str, body: Any
) -> None:
    """Audit a refusal with 401 or 403; `body` is the decoded body of the request, None before it was read."""
    if not observer.audits(AccessDenied):
        return
    message = body if isinstance(body, dict) else {}
    params = message.get("params") or {}
    observer.audit(
        AccessDenied(
            when=clock.now(),
            reason=reason,
            principal=principal,
            address=request.peer,
            operation=str(message.get("method", request.method))[:200],
            name=str(params.get("name", params.get("uri", "")))[:200] if isinstance(params, Mapping) else "",
        )
    )


def insufficient_scope(needed: frozenset[str]) -> ProtocolError:
    """Return the 403 that names the missing scopes."""
    return ProtocolError(403, INVALID_REQUEST, f"the credentials lack a scope: this needs {' '.join(sorted(needed))}")


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
