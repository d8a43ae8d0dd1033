"""What a client must have declared before it is asked something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["missing_capabilities"]


def missing_capabilities(
    method: str, params: Mapping[str, Any] | None, declared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the part of ClientCapabilities that a request to the client needs and the client lacks; {} if none.

    Elicitation declared as `{}` means forms only; a URL needs `elicitation.url`, and tools in sampling need
    `sampling.tools` (2025-11-25, client/elicitation and client/sampling, "Capabilities").
    """
    params, declared = params or {}, declared or {}
    match method:
        case "elicitation/create":
            name, detail = "elicitation", _elicitation_mode(params, declared.get("elicitation"))
        case "sampling/createMessage":
            name, detail = "sampling", "tools" if params.get("tools") or params.get("toolChoice") else ""
        case "roots/list":
            name, detail = "roots", ""
        case _:
            return {}
    has = declared.get(name)
    if has is not None and (not detail or (isinstance(has, Mapping) and has.get(detail) is not None)):
        return {}
    return {name: {detail: {}} if detail else {}}


def _elicitation_mode(params: Mapping[str, Any], has: Any) -> str:
    """Return the mode that must be declared by name; forms need no name unless the client names only URLs."""
    if params.get("mode") == "url":
        return "url"
    return "form" if isinstance(has, Mapping) and "url" in has else ""
