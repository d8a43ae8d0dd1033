"""Batches: arrays of messages, which exist in 2025-03-26 alone (basic/transports, "Sending Messages")."""

from __future__ import annotations

from mcp_transport.protocol.errors import invalid_request
from mcp_transport.protocol.jsonrpc import Message, Request, Response, parse_message

__all__ = ["parse_batch"]


def parse_batch(values: list[object], limit: int) -> tuple[Message, ...]:
    """Read an array of messages: requests and notifications, or responses, never both kinds.

    Raises:
        ProtocolError: 400 / -32600 when the array is empty, too long, mixed, holds `initialize`, or
            names one request id twice.
    """
    if not values:
        raise invalid_request("a batch must hold at least one message")
    if len(values) > limit:
        raise invalid_request(f"a batch may hold {limit} messages, got {len(values)}")
    messages = tuple(parse_message(value) for value in values)
    if len({isinstance(message, Response) for message in messages}) > 1:
        raise invalid_request("a batch holds either requests and notifications, or responses")
    requests = [message for message in messages if isinstance(message, Request)]
    if any(request.method == "initialize" for request in requests):
        raise invalid_request("initialize must not be part of a batch")
    if len({request.id for request in requests}) < len(requests):
        raise invalid_request("every request of a batch needs an id of its own")
    return messages
