"""The headers in which a client repeats parts of a request (2026-07-28, streamable-http)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.shared.inbound import (
    NAME_BEARING_METHODS,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)

__all__ = ["header_annotation_fault", "request_headers"]


def request_headers(method: str, params: Mapping[str, Any], schema: Any = None) -> dict[str, str]:
    """Return the headers in which a client repeats parts of a request; `schema` is the tool's, if it is known."""
    headers = {"Mcp-Method": method}
    if isinstance(name := params.get(NAME_BEARING_METHODS.get(method, "")), str):
        headers["Mcp-Name"] = encode_header_value(name)
    if schema is not None:
        headers |= mcp_param_headers(x_mcp_header_map(schema), params.get("arguments") or {})
    return headers


def header_annotation_fault(schema: dict[str, Any]) -> str:
    """Return what is wrong with a schema's x-mcp-header annotations, or "" (2026-07-28, server/tools).

    The specification allows `_`, but proxies drop headers whose name contains it.
    """
    if (reason := find_invalid_x_mcp_header(schema)) is not None:
        return reason
    dropped = [token for token in x_mcp_header_map(schema).values() if "_" in token]
    return f"{dropped[0]!r} contains '_', and proxies drop such headers" if dropped else ""
