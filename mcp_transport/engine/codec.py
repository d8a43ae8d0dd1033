"""Decoding and encoding of JSON messages."""

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

__all__ = ["MAX_INTEGER_DIGITS", "decode", "encode", "encode_notification", "encoded_size", "within_limit"]


MAX_INTEGER_DIGITS: Final = 308
"""An integer of so many digits fits a double, to which orjson converts it before it is decoded exactly."""


def decode(body: bytes, max_values: int = sys.maxsize) -> Any:
    """Decode a request body; orjson itself refuses invalid UTF-8 and more than 1024 levels of nesting.

    Raises:
        ProtocolError: 413 / -32600 for more than `max_values`, 400 / -32700 for invalid JSON or a number beyond the
            range of a double; with the request's id, if that can be read.
    """
    try:
        if len(body) > max_values and has_more_values(body, max_values):
            raise too_many_values(max_values)
        value = orjson.loads(body)
        return _decode_exactly(body) if has_too_large_integer(body) else value
    except orjson.JSONDecodeError as error:
        raise _with_id(_parse_error(body, error), body) from None
    except ProtocolError as error:
        raise _with_id(error, body) from None


def _decode_exactly(body: bytes) -> Any:
    """Decode integers beyond 64 bits, which orjson rounds to floats. Raises: ProtocolError."""
    try:
        return json.loads(body)
    except RecursionError:
        problem = "Parse error: the body is nested too deep for integers beyond 64 bits"
        raise ProtocolError(400, PARSE_ERROR, problem) from None


def _parse_error(body: bytes, error: orjson.JSONDecodeError) -> ProtocolError:
    """Build the error for an invalid body; its text helps the author of the client."""
    reason = "it is empty" if not body.strip() else encoding_fault(body) or str(error)
    if "valid UTF-8" in reason:  # the text of orjson's error, as below
        reason = "it holds bytes that are not"
    elif "infinity" in reason:
        reason = f"a number is beyond any double; an integer may have at most {MAX_INTEGER_DIGITS} digits"
    return ProtocolError(400, PARSE_ERROR, f"Parse error: the body must be JSON in UTF-8, but {reason}")


def _with_id(error: ProtocolError, body: bytes) -> ProtocolError:
    error.request_id = request_id_of(body)
    return error


def encode(message: Any) -> bytes:
    """Encode a message, without line breaks."""
    try:
        return orjson.dumps(message)
    except TypeError:
        # For integers beyond 64 bits, and lone surrogates, which are replaced since no client reads them.
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def encoded_size(*values: Any) -> int:
    """Return the size of values as JSON in bytes, or a huge number if they are nested too deep to encode."""
    return sum(map(json_size, values))


def encode_notification(method: str, params: Mapping[str, Any] | None, limit: int = sys.maxsize) -> bytes:
    """Encode a notification of at most `limit` bytes. Raises: TooLarge."""
    message = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
    return within_limit(encode(message), limit)


def within_limit(payload: bytes, limit: int) -> bytes:
    """Return an encoded message of a handler if its size is allowed. Raises: TooLarge."""
    if len(payload) > limit:
        raise TooLarge("a message", len(payload), limit)
    return payload
