"""Complete answers, built in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcp_transport.engine.codec import encode
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol import sse
from mcp_transport.protocol.errors import INTERNAL_ERROR, REQUEST_CANCELLED, error_body
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HeaderList, HTTPRequest, Reply, StreamReply
from mcp_transport.protocol.jsonrpc import RequestId, rejected_id

__all__ = [
    "accepted",
    "batch_error",
    "batch_error_reply",
    "cancelled_response",
    "close_connection",
    "complete_reply",
    "error_reply",
    "node_unresponsive",
    "server_stopping",
    "store_unavailable",
    "with_length",
]

_JSON = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def accepted() -> Reply:
    """Build 202 without a body, for notifications and responses."""
    return Reply(status=202)


def complete_reply(payload: bytes, accepts: Accepts, *, status: int = 200, headers: HeaderList = ()) -> Reply:
    """Build the answer to requests as one JSON document, or as one event for a client that takes only those."""
    if accepts.json or status != 200:
        return Reply(status=status, headers=(*_JSON, *headers), body=payload)
    return Reply(status=status, headers=(*sse.HEADERS, *headers), body=sse.event(payload))


def cancelled_response(request_id: RequestId) -> bytes:
    """Write the answer to a request that was cancelled, where its client waits for one."""
    return encode(error_body(REQUEST_CANCELLED, "the request was cancelled", request_id=request_id))


def error_reply(error: ProtocolError, value: Any = None) -> Reply:
    """Build the answer to a request that broke a rule; `value` is its decoded body, for the id."""
    request_id = error.request_id if value is None else rejected_id(value)
    body = error_body(error.code, error.message, request_id=request_id, data=error.data)
    return Reply(status=error.status, headers=(*_JSON, *error.headers), body=encode(body))


def batch_error(error: ProtocolError) -> bytes:
    """Write the error for one message of a batch; without a readable id that is null (JSON-RPC 2.0, section 5)."""
    return encode({"id": None, **error_body(error.code, error.message, request_id=error.request_id, data=error.data)})


def batch_error_reply(errors: Sequence[ProtocolError], accepts: Accepts, *, are_all: bool) -> Reply:
    """Build the answer to a batch without requests of which some messages, or all, were refused."""
    return complete_reply(b"[" + b",".join(map(batch_error, errors)) + b"]", accepts, status=400 if are_all else 200)


def with_length(reply: Reply | StreamReply) -> Reply | StreamReply:
    """Say how long a complete answer is, so that no server has to chunk it; 204 must not (RFC 9110, 8.6)."""
    if isinstance(reply, StreamReply) or reply.status == 204:
        return reply
    headers = (*reply.headers, ("Content-Length", str(len(reply.body))))
    return Reply(status=reply.status, headers=headers, body=reply.body)


def close_connection(reply: Reply | StreamReply, request: HTTPRequest) -> Reply | StreamReply:
    """Have the connection closed behind an answer (RFC 9112, 9.6); there is none of its own in HTTP/2."""
    if request.http_version != "1.1" or ("Connection", "close") in reply.headers:
        return reply
    return replace(reply, headers=(*reply.headers, ("Connection", "close")))


def server_stopping(request: HTTPRequest) -> ProtocolError:
    """Send a client elsewhere; a proxy must not write its next request into a connection that is about to close."""
    server_stopping = "this server is stopping; another one will answer"
    close = (("Connection", "close"),) if request.http_version == "1.1" else ()  # RFC 9113, 8.2.2: not in HTTP/2
    return ProtocolError(503, INTERNAL_ERROR, server_stopping, headers=(("Retry-After", "1"), *close))


def store_unavailable() -> ProtocolError:
    """Have a client try again: the store does not answer, which says nothing of the session."""
    unavailable = "the session store does not answer; try again"
    return ProtocolError(503, INTERNAL_ERROR, unavailable, headers=(("Retry-After", "2"),))


def node_unresponsive() -> ProtocolError:
    """Have a client try again: its id was used before, and the node which ran that request is silent."""
    silent = "the server that ran a request with this id does not answer; try again"
    return ProtocolError(503, INTERNAL_ERROR, silent, headers=(("Retry-After", "2"),))
