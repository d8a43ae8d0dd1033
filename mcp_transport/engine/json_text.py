"""Checks on a JSON text before decoding, each in a single pass over the text."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["encoding_fault", "has_more_values", "has_too_large_integer", "request_id_of"]

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


def encoding_fault(body: bytes) -> str:
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
