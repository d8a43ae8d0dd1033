"""Idempotency keys: a client's name for one request, under which it may send that request again.

The header is that of draft-ietf-httpapi-idempotency-key-header-06. The key gives the request's stream its name, so a
repetition leads to that stream, on any node (ADR 33).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST, invalid_request
from mcp_transport.protocol.versions import sessionful

__all__ = [
    "CAPABILITY",
    "IDEMPOTENCY_KEY",
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
"""The experimental capability by which a server says that it keeps answers, and for how long."""

MAX_KEY: Final = 128
"""Characters of the longest key, without what surrounds and escapes them."""

_PREFIX: Final = "k"  # which no hexadecimal digit is: streams without a key are named by those alone
_DIGITS: Final = 24
# RFC 8941, 3.3.3: a quote and a backslash stand behind a backslash, and nothing else does.
_QUOTED: Final = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_BARE: Final = re.compile(r"[!#-~][!-~]*")
_ESCAPED: Final = re.compile(r"\\(.)")


def idempotency_capability(versions: tuple[str, ...], keep_seconds: float) -> dict[str, dict[str, Any]]:
    """Return the experimental capability of a server that keeps answers, or none where there are no sessions."""
    if not keep_seconds or not sessionful(versions):
        return {}
    return {CAPABILITY: {"keepSeconds": keep_seconds}}


def parse_key(text: str) -> str:
    """Read the header: a String of RFC 8941, or the same without its quotes.

    Raises:
        ProtocolError: 400 / -32600 for what is no key.
    """
    quoted = _QUOTED.fullmatch(text)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted is not None else text if _BARE.fullmatch(text) else ""
    if 0 < len(key) <= MAX_KEY:
        return key
    raise invalid_request(
        f"Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters, in double quotes or without"
    )


def stream_name(key: str) -> str:
    """Return the name of the stream that belongs to a key, in a session."""
    return _PREFIX + hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]


def is_keyed(stream: str) -> bool:
    """Tell whether a stream belongs to a key; such a stream has one request."""
    return stream.startswith(_PREFIX)


def key_reused() -> ProtocolError:
    """Build the refusal of a key that another request had: 422 (section 2.7 of the draft)."""
    text = "Invalid request: this Idempotency-Key was used for a request with another body: take a new key"
    return ProtocolError(422, INVALID_REQUEST, text, data={"idempotencyKey": "reused"})


def key_in_use() -> ProtocolError:
    """Build the answer to a client that cannot wait on a stream for a request which still runs: 409 (2.7)."""
    text = "the request with this Idempotency-Key still runs: send it again later, or accept text/event-stream"
    data, later = {"idempotencyKey": "running"}, (("Retry-After", "1"),)
    return ProtocolError(409, INVALID_REQUEST, text, data=data, headers=later)
