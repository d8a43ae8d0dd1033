"""Idempotency keys: a client's name for one request, with which it may send that request again.

The header follows draft-ietf-httpapi-idempotency-key-header-06. The name of the request's stream is derived from the
key, so that a repetition finds the stream on any node (ADR 33).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from operator import methodcaller
from typing import Any, Final

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST, invalid_request
from mcp_transport.protocol.versions import sessionful

__all__ = [
    "CAPABILITY",
    "IDEMPOTENCY_KEY",
    "KEYED_PREFIX",
    "MAX_KEY",
    "idempotency_capability",
    "is_keyed",
    "key_in_use",
    "key_reused",
    "parse_key",
    "stream_name",
]

IDEMPOTENCY_KEY: Final = "idempotency-key"
"""The request header."""

CAPABILITY: Final = "mcp_transport/idempotencyKey"
"""The experimental capability that declares that a server stores responses, and for how long."""

KEYED_PREFIX: Final = "k"  # not a hexadecimal digit: the names of all other streams consist of those
"""The first character of the name of a key's stream."""

MAX_KEY: Final = 128
"""Characters of the longest key, without quotes and escapes."""

_DIGITS: Final = 24

is_keyed: Final[Callable[[str], bool]] = methodcaller("startswith", KEYED_PREFIX)
"""Returns whether a stream belongs to a key; such a stream has exactly one request."""

# RFC 8941, 3.3.3: only quotes and backslashes are escaped, with a backslash.
_QUOTED: Final = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_BARE: Final = re.compile(r"[!#-~][!-~]*")
_ESCAPED: Final = re.compile(r"\\(.)")


def idempotency_capability(versions: tuple[str, ...], keep_seconds: float) -> dict[str, dict[str, Any]]:
    """Return the experimental capability of a server that stores responses; {} if it serves no sessions."""
    if not keep_seconds or not sessionful(versions):
        return {}
    return {CAPABILITY: {"keepSeconds": keep_seconds}}


def parse_key(text: str) -> str:
    """Parse the header: an RFC 8941 String, or the same without quotes.

    Raises:
        ProtocolError: 400 / -32600 when it is not a valid key.
    """
    quoted = _QUOTED.fullmatch(text)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted is not None else text if _BARE.fullmatch(text) else ""
    if 0 < len(key) <= MAX_KEY:
        return key
    raise invalid_request(f"Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters, double-quoted or not")


def stream_name(key: str) -> str:
    """Return the name of the stream of a key within a session."""
    return KEYED_PREFIX + hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]


def key_reused() -> ProtocolError:
    """Build the error for a key that was used for a different request: 422 (section 2.7 of the draft)."""
    text = "Invalid request: this Idempotency-Key was used for a request with a different body: use a new key"
    return ProtocolError(422, INVALID_REQUEST, text, data={"idempotencyKey": "reused"})


def key_in_use() -> ProtocolError:
    """Build the error for a running request whose client does not accept a stream to wait on: 409 (2.7)."""
    text = "the request with this Idempotency-Key is still running: retry later, or accept text/event-stream"
    data, headers = {"idempotencyKey": "running"}, (("Retry-After", "1"),)
    return ProtocolError(409, INVALID_REQUEST, text, data=data, headers=headers)
