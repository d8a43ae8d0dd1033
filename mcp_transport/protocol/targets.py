"""The tool, prompt or resource that a request is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp_transport.protocol.jsonrpc import Request

__all__ = ["LISTEN", "Target", "listen_uris", "request_target"]

LISTEN: Final = "subscriptions/listen"

_KINDS: Final = {
    "tools/call": "tool",
    "prompts/get": "prompt",
    "resources/read": "resource",
    "resources/subscribe": "resource",
    "resources/unsubscribe": "resource",
}

Target = tuple[str, str]
"""A kind (`tool`, `prompt`, `resource`, or `template` for a URI or URI template) and a name or URI."""


def request_target(request: Request) -> Target | None:
    """Return the target of a request; None where it names none, or names several as `subscriptions/listen` does."""
    params, method = request.params or {}, request.method
    if method in _KINDS:
        kind, name = _KINDS[method], params.get("uri" if _KINDS[method] == "resource" else "name")
    elif method == "completion/complete" and isinstance(reference := params.get("ref"), Mapping):
        is_prompt = reference.get("type") == "ref/prompt"
        kind, name = ("prompt", reference.get("name")) if is_prompt else ("template", reference.get("uri"))
    else:
        return None
    return (kind, name) if isinstance(name, str) else None


def listen_uris(request: Request) -> list[Any]:
    """Return the URIs of `subscriptions/listen` without duplicates; an empty list where it is malformed."""
    notifications = (request.params or {}).get("notifications")
    uris = notifications.get("resourceSubscriptions") if isinstance(notifications, Mapping) else None
    if not isinstance(uris, list):
        return []
    invalid = next(([uri] for uri in uris if not isinstance(uri, str)), [])  # one is enough for the SDK to refuse
    return [*dict.fromkeys(uri for uri in uris if isinstance(uri, str)), *invalid]
