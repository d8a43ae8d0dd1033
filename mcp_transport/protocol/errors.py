"""JSON-RPC error codes, their HTTP statuses (2026-07-28, schema and streamable-http), and common errors."""

from __future__ import annotations

import math
from typing import Any, Final

from mcp_transport.exceptions import Overloaded, ProtocolError

__all__ = [
    "HEADER_MISMATCH",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "MISSING_CLIENT_CAPABILITY",
    "PARSE_ERROR",
    "REQUEST_CANCELLED",
    "REQUEST_TIMEOUT",
    "RESOURCE_NOT_FOUND",
    "UNSUPPORTED_VERSION",
    "abandoned_call_error",
    "cancelled_call_error",
    "error_body",
    "invalid_request",
    "lost_answer_error",
    "lost_call_error",
    "overload_data",
    "overloaded",
    "refused_for_load",
    "retry_after",
    "sessionless_code",
    "sessionless_status",
    "too_many_values",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002  # up to 2025-11-25; 2026-07-28 forbids it
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022
REQUEST_CANCELLED: Final = -32800  # outside JSON-RPC's reserved range; the code that LSP uses
REQUEST_TIMEOUT: Final = -32001  # the code that the official SDKs raise when no reply arrives

# The statuses that 2026-07-28 prescribes for errors of running requests. Any other error is sent with 200, as an
# ordinary JSON-RPC error (basic/transports/streamable-http).
_SESSIONLESS_STATUS: Final = {
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


def sessionless_status(code: int) -> int:
    """Return the HTTP status of an error `code` that a running request ended with (2026-07-28)."""
    return _SESSIONLESS_STATUS.get(code, 200)


def sessionless_code(code: int) -> int:
    """Replace a code that 2026-07-28 forbids: some codes of older revisions, and undefined reserved codes."""
    if code == RESOURCE_NOT_FOUND:
        return INVALID_PARAMS
    is_reserved = -32099 <= code <= -32020  # basic, "Error codes"
    is_defined = code in (HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION)
    return INTERNAL_ERROR if is_reserved and not is_defined else code


def cancelled_call_error(by: str) -> dict[str, Any]:
    """Build the error of a call that was cancelled `by` its client or by staff."""
    return {"code": REQUEST_CANCELLED, "message": f"the request was cancelled by {by}"}


def lost_call_error(reason: str, safe: bool) -> dict[str, Any]:
    """Build the error of a call whose node stopped or died; `safe` says whether a client may retry it."""
    advice = "it is safe to retry" if safe else "the call may have taken effect: check before you retry"
    return _call_error(f"{reason} before the call ended; {advice}", retryable=safe)


def lost_answer_error() -> dict[str, Any]:
    """Build the error of a call that has ended, but whose result is missing in the store."""
    return _call_error("the call has ended, but its result was lost; check its effects before you retry")


def abandoned_call_error(nodes: int) -> dict[str, Any]:
    """Build the error of a durable call that is not run again because `nodes` nodes were lost while running it."""
    return _call_error(
        f"{nodes} servers were lost while running this call, perhaps because of it; it is not run again: "
        "find the cause before you retry"
    )


def _call_error(message: str, *, retryable: bool = False) -> dict[str, Any]:
    return {"code": INTERNAL_ERROR, "message": message, "data": {"retryable": retryable}}


def error_body(code: int, message: str, *, request_id: str | int | None = None, data: Any = None) -> dict[str, Any]:
    """Build a JSON-RPC error; without a readable id the member is left out, never null (schema 2025-11-25)."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    body: dict[str, Any] = {"jsonrpc": "2.0", "error": error}
    if request_id is not None:
        body["id"] = request_id
    return body


def too_many_values(limit: int) -> ProtocolError:
    """Build the error for a body with more than `limit` JSON values: 413."""
    text = f"the body may contain at most {limit} JSON values: send less at a time"
    return ProtocolError(413, INVALID_REQUEST, text)


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """Build the header that says when to try again (RFC 9110, 10.2.3: in whole seconds)."""
    return (("Retry-After", str(max(1, math.ceil(seconds)))),)


def overload_data(limit: str, key: str, seconds: float) -> dict[str, Any]:
    """Build the `data` of an error for load; the client may try again after so many `seconds`."""
    return {"retryable": True, "limit": limit, "key": key, "retryAfterMs": math.ceil(seconds * 1000)}


def refused_for_load(status: int, message: str, *, limit: str, key: str, seconds: float) -> ProtocolError:
    """Refuse a request that did not run: with 429 for a limit of its caller, with 503 for one of the server.

    `limit` is the setting or option that refuses, `key` says whose share is used up ("caller", "session", "address",
    "tool", "server", or a project's own key); the client may try again after so many `seconds`.
    """
    data = overload_data(limit, key, seconds)
    refusal = ProtocolError(status, INTERNAL_ERROR, message, data=data, headers=retry_after(seconds))
    refusal.reason = limit
    refusal.is_logged = True  # a flood of requests must not become a flood of log lines
    return refusal


def overloaded(error: Overloaded) -> ProtocolError:
    """Build the response to a call that is refused: 429 for its caller's share, 503 for a limit of the whole."""
    status = 429 if error.key == "caller" else 503
    return refused_for_load(status, str(error), limit=error.limit, key=error.key, seconds=error.retry_after)


def invalid_request(message: str) -> ProtocolError:
    """Build the error for a malformed request: 400 / -32600."""
    return ProtocolError(400, INVALID_REQUEST, f"Invalid request: {message}")
