"""JSON to values and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson

from mcp_transport.engine.json_text import encoding_fault, has_more_values, has_too_large_integer, request_id_of
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import TooLarge, json_size
from mcp_transport.protocol.errors import PARSE_ERROR, too_many_values

__all__ = ["MAX_INTEGER_DIGITS", "decode", "encode", "encode_notification", "encoded_size", "fitted"]


MAX_INTEGER_DIGITS: Final = 308
"""Any such integer is within the range of a double, which orjson makes of it before it is read exactly."""


def decode(body: bytes, max_values: int = sys.maxsize) -> Any:
    """Read a request body; orjson refuses bad UTF-8 and a nesting over 1024 levels by itself.

    Raises:
        ProtocolError: 413 / -32600 for more than `max_values`, 400 / -32700 for what is no JSON, or a number that
            no double holds; with the request's id, where it can be read.
    """
    try:
        if len(body) > max_values and has_more_values(body, max_values):
            raise too_many_values(max_values)
        value = orjson.loads(body)
        return _decode_exactly(body) if has_too_large_integer(body) else value
    except orjson.JSONDecodeError as error:
        raise _with_id(_unread(body, error), body) from None
    except ProtocolError as error:
        raise _with_id(error, body) from None


def _decode_exactly(body: bytes) -> Any:
    """Read JSON whose integers are beyond 64 bits, where orjson rounds them to floats. Raises: ProtocolError."""
    try:
        return json.loads(body)
    except RecursionError:
        problem = "Parse error: the body is nested too deep for integers beyond 64 bits"
        raise ProtocolError(400, PARSE_ERROR, problem) from None


def _unread(body: bytes, error: orjson.JSONDecodeError) -> ProtocolError:
    """Say why a body cannot be read, in words that help whoever wrote the client."""
    reason = "it is empty" if not body.strip() else encoding_fault(body) or str(error)
    if "valid UTF-8" in reason:  # orjson's words, as below
        reason = "it holds bytes that are not"
    elif "infinity" in reason:
        reason = f"a number is beyond any double; an integer may have {MAX_INTEGER_DIGITS} digits"
    return ProtocolError(400, PARSE_ERROR, f"Parse error: the body must be JSON in UTF-8, but {reason}")


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
    return sum(map(json_size, values))


def encode_notification(method: str, params: Mapping[str, Any] | None, limit: int = sys.maxsize) -> bytes:
    """Write a notification, of `limit` bytes at most. Raises: TooLarge."""
    message = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
    return fitted(encode(message), limit)


def fitted(payload: bytes, limit: int) -> bytes:
    """Return a message that a handler sends besides its result, if it may be sent. Raises: TooLarge."""
    if len(payload) > limit:
        raise TooLarge("a message", len(payload), limit)
    return payload
