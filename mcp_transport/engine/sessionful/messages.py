"""Responses and notifications of a client: taken, and acknowledged without an answer."""

from __future__ import annotations

import asyncio

from mcp_transport.engine.call import SessionOutlet, Writer
from mcp_transport.engine.sessionful.visit import Visit
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import (
    INVALID_PARAMS,
    invalid_request,
)
from mcp_transport.protocol.inbox import CancelCall, ReplyArrived
from mcp_transport.protocol.jsonrpc import Notification, Response, is_request_id

__all__ = ["take_notification", "take_reply"]


async def take_reply(visit: Visit, reply: Response) -> None:
    """Send a reply to the node that waits for it.

    Raises:
        ProtocolError: 400 / -32600 for a reply to a request that was never made in this session.
    """
    node_id = visit.node.node_of_request(reply.id, visit.owner)
    if node_id is None:
        raise invalid_request("the response answers no request that this server sent in this session")
    await visit.node.backend.send(node_id, ReplyArrived(str(reply.id), reply.result, reply.error))


async def take_notification(visit: Visit, notification: Notification) -> None:
    """Act on a notification.

    Raises:
        ProtocolError: 400 / -32602 for a cancellation that names no request.
    """
    node = visit.node
    if notification.method == "notifications/cancelled":
        await _cancel(visit, notification)
        return
    if notification.method == "notifications/initialized":
        await node.backend.update(visit.session.key, initialized=True)
    outlet = SessionOutlet(
        node, Writer(node, visit.session.key, "", ()), owner="", log_level="", can_stream=False, polling=False
    )
    handled = node.lifecycle.spawn(
        node.kernel.notify(node.exchange(visit.facts(), outlet, visit.caller()), notification)
    )
    if not visit.request.streaming:
        await asyncio.wait([handled])  # the loop ends with this request


async def _cancel(visit: Visit, notification: Notification) -> None:
    request_id = (notification.params or {}).get("requestId")
    if not is_request_id(request_id):
        raise ProtocolError(
            400, INVALID_PARAMS, "notifications/cancelled must name a requestId, a string or an integer"
        )
    flight = await visit.node.backend.cancel(visit.session.key, request_id)
    if flight is not None:
        await visit.node.backend.send(flight.node, CancelCall(visit.session.key, request_id))
