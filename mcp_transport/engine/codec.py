"""Decoding and encoding of JSON messages."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import orjson

from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import TooLarge, json_size
from mcp_transport.protocol.errors import PARSE_ERROR, too_many_values
from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = [
    "MAX_INTEGER_DIGITS",
    "decode",
    "encode",
    "encode_notification",
    "encoded_size",
    "has_more_values",
    "has_too_large_integer",
    "request_id_of",
    "within_limit",
]


MAX_INTEGER_DIGITS: Final = 308
"""An integer of so many digits fits a double, to which orjson converts it before it is decoded exactly."""

# For texts without escapes, in which two quotes enclose a string.
_STRING: Final = re.compile(rb'"[^"]*+"')

# With all digits replaced by zeros, a substring search finds long numbers without a regular expression.
_DIGITS_TO_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_DIGITS: Final = b"0" * 19
_NUMBER: Final = re.compile(rb"-?\d++(?:[.eE][\d.eE+-]*+)?+")

# Prefixes of bodies that clients send as JSON by mistake.
_FOREIGN_ENCODINGS: Final = (
    (b"\x1f\x8b", "it is compressed with gzip, and no Content-Encoding says so: send it uncompressed"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd, and no Content-Encoding says so: send it uncompressed"),
    *(
        (b"\x78" + level, "it is compressed with deflate, and no Content-Encoding says so: send it uncompressed")
        for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")
    ),
    (b"\xef\xbb\xbf", "it begins with a byte order mark"),
    (b"\xff\xfe", "it is in UTF-16 or UTF-32"),
    (b"\xfe\xff", "it is in UTF-16 or UTF-32"),
)

# The short members of a request, which clients write before and after its parameters.
_WINDOW_BYTES: Final = 1024
_MEMBER: Final = rb'\s*"(?:jsonrpc|id|method)"\s*:\s*(?:"[^"\\]*+"|-?\d++)\s*'
_FIRST_MEMBERS: Final = re.compile(rb"\s*\{((?:" + _MEMBER + rb",)*)")
_LAST_MEMBERS: Final = re.compile(rb"((?:," + _MEMBER + rb")+)\}\s*\Z")


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
    reason = "it is empty" if not body.strip() else _encoding_fault(body) or str(error)
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


# -- checks on a text before decoding, each in a single pass over it ----------------------------------


def _encoding_fault(body: bytes) -> str:
    """Return which encoding other than UTF-8 a text seems to have, or "" if that is unclear."""
    for prefix, fault in _FOREIGN_ENCODINGS:
        if body.startswith(prefix):
            return fault
    return "it is in UTF-16 or UTF-32" if b"\0" in body[:4] else ""


def has_more_values(body: bytes, max_values: int) -> bool:
    """Return whether a text has more than `max_values` commas and opening brackets outside of strings.

    Each value except the outermost follows one of them.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= max_values:
        return False
    return _value_count_pattern(max_values).match(_without_escapes(body)) is not None


def has_too_large_integer(body: bytes) -> bool:
    """Return whether a text has an integer beyond 64 bits, signed or unsigned."""
    if _LONG_DIGITS not in body.translate(_DIGITS_TO_ZEROS):
        return False
    numbers = _NUMBER.findall(_STRING.sub(b"", _without_escapes(body)))
    long = [number for number in numbers if len(number) >= len(_LONG_DIGITS) and number.lstrip(b"-").isdigit()]
    return any(len(integer) > 20 or not -(2**63) <= int(integer) < 2**64 for integer in long)


def request_id_of(body: bytes) -> RequestId | None:
    """Return a request's id without decoding its parameters; None unless it is near the start or the end."""
    first, last = _FIRST_MEMBERS.match(body[:_WINDOW_BYTES]), _LAST_MEMBERS.search(body[-_WINDOW_BYTES:])
    members = (first[1] if first else b"") + b'"":0' + (last[1] if last else b"")
    try:
        message = json.loads(b"{" + members + b"}")  # not orjson: the id may be an integer of any size
    except ValueError:
        return None
    request_id = message.get("id") if "method" in message else None
    return request_id if is_request_id(request_id) else None


@lru_cache(maxsize=8)  # the limit is a setting
def _value_count_pattern(max_values: int) -> re.Pattern[bytes]:
    # Possessive quantifiers: one pass, without backtracking.
    between = rb'[^",\[{]*+(?:"[^"]*+"[^",\[{]*+)*+'
    return re.compile(rb"(?:%s[,\[{]){%d}+" % (between, max_values + 1))


def _without_escapes(body: bytes) -> bytes:
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")
