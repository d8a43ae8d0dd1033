"""The capabilities that a client must declare before a server may send it a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["all_missing_capabilities", "missing_capabilities"]


def missing_capabilities(
    method: str, params: Mapping[str, Any] | None, declared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the part of ClientCapabilities that a request to the client needs but `declared` lacks; {} if none.

    Elicitation declared as `{}` allows forms only: URL mode needs `elicitation.url`, and tools in sampling need
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
    capability = declared.get(name)
    details = capability if isinstance(capability, Mapping) else {}
    if capability is not None and (not detail or details.get(detail) is not None):
        return {}
    return {name: {detail: {}} if detail else {}}


def all_missing_capabilities(
    requests: Iterable[tuple[str, Mapping[str, Any] | None]], declared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the capabilities missing for several requests, each given as (method, params), merged into one dict."""
    requests = list(requests)
    missing: dict[str, Any] = {}
    for method, params in requests:
        for name, part in missing_capabilities(method, params, declared).items():
            missing[name] = {**missing.get(name, {}), **part}
    if "url" in missing.get("elicitation", {}):
        # Declaring `url` ends the implicit support of forms that `{}` means, so a needed form must be named, too.
        needs_form = any(
            method == "elicitation/create" and (params or {}).get("mode") != "url" for method, params in requests
        )
        missing["elicitation"] |= {"form": {}} if needs_form else {}
    return missing


def _elicitation_mode(params: Mapping[str, Any], capability: Any) -> str:
    """Return the mode that must be declared by name; forms need it only if the client declared `url`."""
    if params.get("mode") == "url":
        return "url"
    return "form" if isinstance(capability, Mapping) and "url" in capability else ""
