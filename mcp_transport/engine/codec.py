"""JSON to values and back."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import TooLarge
from mcp_transport.protocol.errors import PARSE_ERROR, invalid_request

__all__ = ["decode", "encode", "encode_notification", "encoded_size", "fitted"]

# With all digits alike, a long number is found without a regular expression.
_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
# Digits that are neither a fraction nor an exponent, nor followed by one.
_LONG_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")


def decode(body: bytes) -> Any:
    """Read a request body; orjson refuses bad UTF-8 and a nesting over 1024 levels by itself.

    Raises:
        ProtocolError: 400 / -32700 for what is no JSON, 400 / -32600 for an integer beyond 64 bits, which orjson
            would round to a float.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = "it is empty" if not body.strip() else str(error)
        raise ProtocolError(400, PARSE_ERROR, f"Parse error: the body must be JSON in UTF-8, but {reason}") from None
    if _LONG_NUMBER in body.translate(_ALIKE) and _holds_too_large_integer(body):
        raise invalid_request("integers must fit into 64 bits; send larger ones as strings")
    return value


def encode(message: Any) -> bytes:
    """Write one message, without line breaks."""
    try:
        return orjson.dumps(message)
    except TypeError:
        # Integers beyond 64 bits and lone surrogates: the standard library writes both, only slower.
        return json.dumps(message, separators=(",", ":")).encode()


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


def _holds_too_large_integer(body: bytes) -> bool:
    integers = (found[0] for found in _LONG_INTEGER.finditer(_STRING.sub(b"", body)))
    return any(len(digits) > 20 or not -(2**63) <= int(digits) < 2**64 for digits in integers)
