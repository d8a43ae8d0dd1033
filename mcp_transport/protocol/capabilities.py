"""What a client must have declared before it is asked something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["all_missing_capabilities", "missing_capabilities"]


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


def all_missing_capabilities(
    questions: Iterable[tuple[str, Mapping[str, Any] | None]], declared: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what a client lacks for several requests, each a method and its parameters, taken together."""
    questions = list(questions)
    missing: dict[str, Any] = {}
    for method, params in questions:
        for name, part in missing_capabilities(method, params, declared).items():
            missing[name] = {**missing.get(name, {}), **part}
    if "url" in missing.get("elicitation", {}):
        # A client that adds only this would lose the forms, which `{}` alone had stood for.
        forms = any(
            method == "elicitation/create" and (params or {}).get("mode") != "url" for method, params in questions
        )
        missing["elicitation"] |= {"form": {}} if forms else {}
    return missing


def _elicitation_mode(params: Mapping[str, Any], has: Any) -> str:
    """Return the mode that must be declared by name; forms need no name unless the client names only URLs."""
    if params.get("mode") == "url":
        return "url"
    return "form" if isinstance(has, Mapping) and "url" in has else ""
