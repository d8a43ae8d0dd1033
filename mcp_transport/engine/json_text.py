"""What can be told of a JSON text before it is decoded, at the cost of reading it once."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

from mcp_transport.protocol.jsonrpc import RequestId, is_request_id

__all__ = ["encoding_fault", "has_more_values", "has_too_large_integer", "request_id_of"]

# A text without escapes: between two quotes there is a string, and nothing else.
_STRING: Final = re.compile(rb'"[^"]*+"')

# With all digits alike, a long number is found without a regular expression.
_ALIKE: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19
_NUMBER: Final = re.compile(rb"-?\d++(?:[.eE][\d.eE+-]*+)?+")

# How bodies begin that clients take for JSON.
_BEGINNINGS: Final = (
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

# A request's short members, as they stand before and behind its parameters.
_WINDOW: Final = 1024
_MEMBER: Final = rb'\s*"(?:jsonrpc|id|method)"\s*:\s*(?:"[^"\\]*+"|-?\d++)\s*'
_FIRST_MEMBERS: Final = re.compile(rb"\s*\{((?:" + _MEMBER + rb",)*)")
_LAST_MEMBERS: Final = re.compile(rb"((?:," + _MEMBER + rb")+)\}\s*\Z")


def encoding_fault(body: bytes) -> str:
    """Say which encoding a text seems to be in that is not UTF-8; nothing where that cannot be told."""
    for beginning, fault in _BEGINNINGS:
        if body.startswith(beginning):
            return fault
    return "it is in UTF-16 or UTF-32" if b"\0" in body[:4] else ""


def has_more_values(body: bytes, most: int) -> bool:
    """Tell whether a text has more than `most` commas and opening brackets outside of its strings.

    Each value but the outermost stands behind one of them.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= most:
        return False
    return _more_than(most).match(_without_escapes(body)) is not None


def has_too_large_integer(body: bytes) -> bool:
    """Tell whether a text has an integer beyond 64 bits, signed or not."""
    if _LONG_NUMBER not in body.translate(_ALIKE):
        return False
    numbers = _NUMBER.findall(_STRING.sub(b"", _without_escapes(body)))
    long = [number for number in numbers if len(number) >= len(_LONG_NUMBER) and number.lstrip(b"-").isdigit()]
    return any(len(integer) > 20 or not -(2**63) <= int(integer) < 2**64 for integer in long)


def request_id_of(body: bytes) -> RequestId | None:
    """Read a request's id without its parameters, where it stands near the beginning or the end; None elsewhere."""
    first, last = _FIRST_MEMBERS.match(body[:_WINDOW]), _LAST_MEMBERS.search(body[-_WINDOW:])
    members = (first[1] if first else b"") + b'"":0' + (last[1] if last else b"")
    try:
        message = json.loads(b"{" + members + b"}")  # which reads integers of any size
    except ValueError:
        return None
    request_id = message.get("id") if "method" in message else None
    return request_id if is_request_id(request_id) else None


@lru_cache(maxsize=8)  # it is a setting
def _more_than(most: int) -> re.Pattern[bytes]:
    # Possessive, so that one pass is all, and nothing is kept of it.
    between = rb'[^",\[{]*+(?:"[^"]*+"[^",\[{]*+)*+'
    return re.compile(rb"(?:%s[,\[{]){%d}+" % (between, most + 1))


def _without_escapes(body: bytes) -> bytes:
    return body.replace(b"\\\\", b"").replace(b'\\"', b"")
