"""Limits on request headers, checked before any header is parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_REQUEST

if TYPE_CHECKING:
    from mcp_transport.protocol.headers import Headers

__all__ = ["MAX_CHARACTERS", "MAX_LINES", "MAX_LIST", "check_limits"]

MAX_LINES: Final = 200
MAX_CHARACTERS: Final = 64 * 1024
"""The total length of all names and values."""
MAX_LIST: Final = 1024
"""Characters of a header that holds a list: each item is parsed, so that even a short list costs time."""

_LISTS: Final = ("accept", "content-type", "access-control-request-headers")


def check_limits(headers: Headers) -> None:
    """Check the number and the length of headers (RFC 6585, 5).

    Raises:
        ProtocolError: 431, naming the limit that is exceeded.
    """
    if headers.count > MAX_LINES:
        raise _too_large(f"the headers may have at most {MAX_LINES} lines, got {headers.count}: send fewer")
    if headers.size > MAX_CHARACTERS:
        raise _too_large(f"the headers may have at most {MAX_CHARACTERS} characters, got {headers.size}: send less")
    if headers.size <= MAX_LIST:
        return
    for name in _LISTS:
        if (length := sum(map(len, headers.lines(name)))) > MAX_LIST:
            raise _too_large(f"{name} header may have at most {MAX_LIST} characters, got {length}: name fewer items")


def _too_large(problem: str) -> ProtocolError:
    return ProtocolError(431, INVALID_REQUEST, problem)
