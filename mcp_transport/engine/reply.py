"""Builders of complete responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcp_transport.engine.codec import encode
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol import sse
from mcp_transport.protocol.errors import INTERNAL_ERROR, REQUEST_CANCELLED, error_body, retry_after
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HeaderList, HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.jsonrpc import Outcome, RequestId, rejected_id
from mcp_transport.protocol.request_checks import SessionPost

__all__ = [
    "accepted",
    "batch_error",
    "batch_error_reply",
    "cancelled_response",
    "close_connection",
    "complete_reply",
    "error_reply",
    "node_unresponsive",
    "outcome_reply",
    "refusal_in_session",
    "server_stopping",
    "store_unavailable",
    "with_length",
]

_JSON = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def accepted() -> Reply:
    """Build 202 without a body, for notifications and responses."""
    return Reply(status=202)


def complete_reply(payload: bytes, accepts: Accepts, *, status: int = 200, headers: HeaderList = ()) -> Reply:
    """Build the response as one JSON document, or as one event for a client that accepts only event streams."""
    if accepts.json or status != 200:
        return Reply(status=status, headers=(*_JSON, *headers), body=payload)
    return Reply(status=status, headers=(*sse.HEADERS, *headers), body=sse.event(payload))


def outcome_reply(
    outcome: Outcome, payload: bytes, accepts: Accepts, *, status: int = 200, status_of_refusal: int = 0
) -> Reply:
    """Build the response to one request; one that was refused for load says in its headers when to try again."""
    if not outcome.status or outcome.error is None:
        return complete_reply(payload, accepts, status=status)
    headers = retry_after(outcome.error["data"]["retryAfterMs"] / 1000)
    return complete_reply(payload, accepts, status=status_of_refusal or outcome.status, headers=headers)


def refusal_in_session(error: ProtocolError, work: SessionPost, accepts: Accepts) -> Reply:
    """Build the response to requests in a session that were refused for load.

    The status is 200: 429 and 503 end the session of a Python SDK 1.x client.
    """
    bodies = [error_body(error.code, error.message, request_id=item.id, data=error.data) for item in work.requests]
    return complete_reply(encode(bodies if work.batch else bodies[0]), accepts, headers=error.headers)


def cancelled_response(request_id: RequestId) -> bytes:
    """Encode the response to a cancelled request whose client still waits for one."""
    return encode(error_body(REQUEST_CANCELLED, "the request was cancelled", request_id=request_id))


def error_reply(error: ProtocolError, value: Any = None) -> Reply:
    """Build the response to a refused request; `value` is its decoded body, for the id."""
    request_id = error.request_id if value is None else rejected_id(value)
    body = error_body(error.code, error.message, request_id=request_id, data=error.data)
    return Reply(status=error.status, headers=(*_JSON, *error.headers), body=encode(body))


def batch_error(error: ProtocolError) -> bytes:
    """Encode the error for one message of a batch; an unreadable id is null (JSON-RPC 2.0, section 5)."""
    return encode({"id": None, **error_body(error.code, error.message, request_id=error.request_id, data=error.data)})


def batch_error_reply(errors: Sequence[ProtocolError], accepts: Accepts, *, are_all: bool) -> Reply:
    """Build the response to a batch without requests of which some or all messages were refused."""
    return complete_reply(b"[" + b",".join(map(batch_error, errors)) + b"]", accepts, status=400 if are_all else 200)


def with_length(reply: Reply | StreamReply) -> Reply | StreamReply:
    """Add Content-Length, so that no server sends chunks; 204 must not have it (RFC 9110, 8.6)."""
    if isinstance(reply, StreamReply) or reply.status == 204:
        return reply
    headers = (*reply.headers, ("Content-Length", str(len(reply.body))))
    return Reply(status=reply.status, headers=headers, body=reply.body)


def close_connection(reply: Reply | StreamReply, request: HTTPRequest) -> Reply | StreamReply:
    """Close the connection after the response (RFC 9112, 9.6); HTTP/2 shares it with other requests."""
    if request.http_version != "1.1" or ("Connection", "close") in reply.headers:
        return reply
    return replace(reply, headers=(*reply.headers, ("Connection", "close")))


def server_stopping(request: HTTPRequest) -> ProtocolError:
    """Refuse a request while this server stops; proxies must not reuse the connection, which is about to close."""
    problem = "this server is stopping; another one will answer"
    close = (("Connection", "close"),) if request.http_version == "1.1" else ()  # RFC 9113, 8.2.2: not in HTTP/2
    return ProtocolError(503, INTERNAL_ERROR, problem, headers=(("Retry-After", "1"), *close))


def store_unavailable() -> ProtocolError:
    """Ask the client to try again: the store is unavailable, and the session may still exist."""
    problem = "the session store does not answer; try again"
    return ProtocolError(503, INTERNAL_ERROR, problem, headers=(("Retry-After", "2"),))


def node_unresponsive() -> ProtocolError:
    """Ask the client to try again: its request id was used before, and that request's node does not reply."""
    problem = "the server that ran a request with this id does not answer; try again"
    return ProtocolError(503, INTERNAL_ERROR, problem, headers=(("Retry-After", "2"),))
