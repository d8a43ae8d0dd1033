"""JSON-RPC batches, which exist in 2025-03-26 only (basic/transports, "Sending Messages")."""

from __future__ import annotations

from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import invalid_request
from mcp_transport.protocol.jsonrpc import Message, Request, Response, parse_message, rejected_id

__all__ = ["parse_batch"]


def parse_batch(values: list[object], limit: int) -> tuple[tuple[Message, ...], tuple[ProtocolError, ...]]:
    """Parse an array of messages: requests and notifications, or responses, never both.

    Return the valid messages, and an error for each invalid element, which does not affect the others (JSON-RPC 2.0,
    section 6).

    Raises:
        ProtocolError: 400 / -32600 when the array is empty, too long, mixed, contains `initialize`, or
            uses a request id twice.
    """
    if not values:
        raise invalid_request("a batch must contain at least one message")
    if len(values) > limit:
        raise invalid_request(f"a batch may contain at most {limit} messages, got {len(values)}")
    messages, faults = _parse_each(values)
    if len({isinstance(message, Response) for message in messages}) > 1:
        raise invalid_request("a batch must contain either requests and notifications, or responses")
    requests = [message for message in messages if isinstance(message, Request)]
    if any(request.method == "initialize" for request in requests):
        raise invalid_request("initialize must not be part of a batch")
    ids = [request.id for request in requests]
    ids += [fault.request_id for fault in faults if fault.request_id is not None]
    if len(set(ids)) < len(ids):
        raise invalid_request("the requests of a batch must have different ids")
    return tuple(messages), tuple(faults)


def _parse_each(values: list[object]) -> tuple[list[Message], list[ProtocolError]]:
    messages: list[Message] = []
    faults: list[ProtocolError] = []
    for value in values:
        try:
            messages.append(parse_message(value))
        except ProtocolError as error:
            error.request_id = rejected_id(value)
            faults.append(error)
    return messages, faults
