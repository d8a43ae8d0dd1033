"""Validate once what a client repeats in each request (docs/adr/0021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, Final, TypeVar

import orjson
from mcp.server.connection import Connection
from mcp_types import ClientCapabilities, InitializeRequestParams
from mcp_types.methods import validate_client_request

from mcp_transport.kernel.arguments import short_json
from mcp_transport.kernel.limits import limit_params
from mcp_transport.kernel.sdk_path import TOOL_CALL
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["cached_by_json", "check_meta", "parse_client"]

_T = TypeVar("_T")

# Entries: a cached model may take a hundred times as much memory as its key.
_MAX_ENTRIES: Final = 128


def cached_by_json(parse: Callable[[str, Any], _T]) -> Callable[[str, Any], _T]:
    """Decorate a function of a revision and a JSON value: cache its result by the value's encoding, if short."""

    @lru_cache(maxsize=_MAX_ENTRIES)
    def parse_encoded(version: str, encoded: bytes) -> _T:
        return parse(version, orjson.loads(encoded))

    @wraps(parse)
    def parse_cached(version: str, value: Any) -> _T:
        encoded = short_json(value)
        return parse(version, value) if encoded is None else parse_encoded(version, encoded)

    return parse_cached


@cached_by_json
def parse_client(
    version: str, info: Sequence[Any]
) -> tuple[InitializeRequestParams | None, ClientCapabilities | None]:
    """Parse a client's information and capabilities as the SDK parses an envelope."""
    connection = Connection.from_envelope(version, *info)
    return connection.client_params, connection.client_capabilities


def check_meta(version: str, meta: Mapping[str, Any]) -> None:
    """Validate the `_meta` of a tool call, cached without its progress token, which differs each time.

    Raises: LimitError, ValidationError.
    """
    if type(meta.get("progressToken")) in (str, int):
        meta = {name: value for name, value in meta.items() if name != "progressToken"}
    _check_cached_meta(version, meta)


@cached_by_json
def _check_cached_meta(version: str, meta: Mapping[str, Any]) -> None:
    request = limit_params(Request(0, TOOL_CALL, {"name": "", "_meta": meta}))
    validate_client_request(TOOL_CALL, version, request.params)
