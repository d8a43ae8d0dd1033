"""JSON to values and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from mcp_transport.engine.json_text import has_more_values, has_too_large_integer, request_id_of
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import TooLarge
from mcp_transport.protocol.errors import PARSE_ERROR, invalid_request, too_many_values
from mcp_transport.protocol.jsonrpc import is_request_id

__all__ = ["decode", "encode", "encode_notification", "encoded_size", "fitted"]


def decode(body: bytes, max_values: int = sys.maxsize) -> Any:
    """Read a request body; orjson refuses bad UTF-8 and a nesting over 1024 levels by itself.

    Raises:
        ProtocolError: 413 / -32600 for more than `max_values`, 400 / -32700 for what is no JSON, 400 / -32600 for an
            integer beyond 64 bits, which orjson would round to a float; with the request's id, where it can be read.
    """
    try:
        if len(body) > max_values and has_more_values(body, max_values):
            raise too_many_values(max_values)
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "it is empty" if not body.strip() else str(error)
        problem = f"Parse error: the body must be JSON in UTF-8, but {reason}"
        raise _with_id(ProtocolError(400, PARSE_ERROR, problem), body) from None
    except ProtocolError as error:
        raise _with_id(error, body) from None
    if has_too_large_integer(body):
        refusal = invalid_request("integers must fit into 64 bits; send larger ones as strings")
        found = value.get("id") if isinstance(value, dict) and "method" in value else None
        refusal.request_id = found if is_request_id(found) else None
        raise refusal
    return value


def _with_id(error: ProtocolError, body: bytes) -> ProtocolError:
    error.request_id = request_id_of(body)
    return error


def encode(message: Any) -> bytes:
    """Write one message, without line breaks."""
    try:
        return orjson.dumps(message)
    except TypeError:
        # Integers beyond 64 bits, which the standard library writes, and half characters, which no client reads.
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def encoded_size(*values: Any) -> int:
    """Return how many bytes values take as JSON, or more than fit anywhere for what is nested too deep to write."""
    try:
        return sum(len(orjson.dumps(value)) for value in values)
    except TypeError:
        return sys.maxsize


def encode_notification(method: str, params: Mapping[str, Any] | None, limit: int = sys.maxsize) -> bytes:
    """Write a notification, of `limit` bytes at most. Raises: TooLarge."""
    message = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
    return fitted(encode(message), limit)


def fitted(payload: bytes, limit: int) -> bytes:
    """Return a message that a handler sends besides its result, if it may be sent. Raises: TooLarge."""
    if len(payload) > limit:
        raise TooLarge("a message", len(payload), limit)
    return payload
