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
            name, detail = "elicitation", "url" if params.get("mode") == "url" else ""
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
