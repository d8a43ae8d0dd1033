"""JSON-RPC error codes and the HTTP status each one is sent with (2026-07-28, schema and streamable-http)."""

from __future__ import annotations

from typing import Any, Final

from mcp_transport.exceptions import ProtocolError

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
REQUEST_CANCELLED: Final = -32800  # outside JSON-RPC's reserved range; the code LSP uses for the same
REQUEST_TIMEOUT: Final = -32001  # what the official SDKs raise for a reply that did not come

# Statuses that 2026-07-28 pins for an error found while a request runs. Anything else is unpinned and
# answered with 200, as an ordinary JSON-RPC error is (basic/transports/streamable-http).
_SESSIONLESS_STATUS: Final = {
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}


def sessionless_status(code: int) -> int:
    """Return the HTTP status for an error `code` of a request that reached the kernel (2026-07-28)."""
    return _SESSIONLESS_STATUS.get(code, 200)


def sessionless_code(code: int) -> int:
    """Return the code to send in 2026-07-28, which forbids some codes of older revisions, and undefined ones."""
    if code == RESOURCE_NOT_FOUND:
        return INVALID_PARAMS
    reserved = -32099 <= code <= -32020  # basic, "Error codes"
    defined = code in (HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION)
    return INTERNAL_ERROR if reserved and not defined else code


def cancelled_call_error(by: str) -> dict[str, Any]:
    """Build the error of a call that was cancelled `by` somebody."""
    return {"code": REQUEST_CANCELLED, "message": f"the request was cancelled by {by}"}


def lost_call_error(reason: str, safe: bool) -> dict[str, Any]:
    """Build the error of a call whose node went away, and say whether to send it again."""
    unknown = "whether it took effect is not known, so look before sending it again"
    return {
        "code": INTERNAL_ERROR,
        "message": f"{reason} before the call ended; {'it is safe to send it again' if safe else unknown}",
        "data": {"retryable": safe},
    }


def lost_answer_error() -> dict[str, Any]:
    """Build the error of a call that has ended, and whose answer the store should have, and has not."""
    return {
        "code": INTERNAL_ERROR,
        "message": "the call has ended, but its answer was lost; look what it has done before sending it again",
        "data": {"retryable": False},
    }


def abandoned_call_error(nodes: int) -> dict[str, Any]:
    """Build the error of a durable call that is not run again, since as many `nodes` were lost while they ran it."""
    return {
        "code": INTERNAL_ERROR,
        "message": f"{nodes} servers that ran it were lost before the call ended, perhaps because of it; it is not "
        "run again, and should not be sent again before the cause is known",
        "data": {"retryable": False},
    }


def error_body(code: int, message: str, *, request_id: str | int | None = None, data: Any = None) -> dict[str, Any]:
    """Build a JSON-RPC error; without a readable id the member is left out, never null (schema 2025-11-25)."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    body: dict[str, Any] = {"jsonrpc": "2.0", "error": error}
    if request_id is not None:
        body["id"] = request_id
    return body


def too_many_values(most: int) -> ProtocolError:
    """Build the refusal of a body of too many JSON values: 413."""
    return ProtocolError(
        413, INVALID_REQUEST, f"the body may hold {most} JSON values, it holds more: send less at a time"
    )


def invalid_request(message: str) -> ProtocolError:
    """Build the refusal of a request whose shape is wrong: 400 / -32600."""
    return ProtocolError(400, INVALID_REQUEST, f"Invalid request: {message}")
