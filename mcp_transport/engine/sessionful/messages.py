"""Responses and notifications of a client, which are acknowledged with 202 and no body."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import copy_context

from mcp_transport.domain.current_call import current_call
from mcp_transport.domain.node_messages import CancelCall, ReplyArrived
from mcp_transport.domain.principal import Principal
from mcp_transport.engine.node import Node
from mcp_transport.engine.session_channel import SessionChannel
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.exceptions import BackendError, ProtocolError
from mcp_transport.kernel import Exchange, LimitError, check_answer, is_cancellation, is_measured
from mcp_transport.protocol.errors import invalid_request
from mcp_transport.protocol.jsonrpc import Message, Notification, RequestId, Response, is_request_id

__all__ = ["can_send_early", "send_before_admission", "take_notification", "take_reply"]

logger = logging.getLogger(__name__)


def can_send_early(message: Message) -> bool:
    """Return whether `send_before_admission` can forward a message."""
    return isinstance(message, Response) or (
        isinstance(message, Notification) and message.method == "notifications/cancelled"
    )


async def send_before_admission(node: Node, key: str, principal: Principal, message: Message) -> object:
    """Forward a reply or a cancellation before its session has admitted it; return None if the message must wait.

    The id of a reply authenticates its sender, and the store checks the principal of a cancellation.
    """
    if isinstance(message, Response):
        sender = node.client_requests.sender(message.id, key, principal.binding)
        return None if sender is None else await _send_reply(node, sender, message)
    if isinstance(message, Notification) and message.method == "notifications/cancelled":
        request_id = (message.params or {}).get("requestId")
        if is_request_id(request_id):
            return await _cancel(node, key, principal.binding, request_id)
    return None


async def take_reply(context: SessionRequest, reply: Response, early: object) -> None:
    """Send a reply to the node that waits for it, unless it was sent `early`.

    Raises:
        ProtocolError: 400 / -32600 for a malformed reply, or one that answers no request of this session; -32602
            for one that is too long.
    """
    session = context.session
    sender = context.node.client_requests.sender(reply.id, session.key, session.principal)
    if sender is None:
        raise invalid_request("the response answers no request that this server has sent in this session")
    if early is None:
        await _send_reply(context.node, sender, reply)


async def take_notification(context: SessionRequest, notification: Notification, early: object) -> None:
    """Process a notification, unless it was forwarded `early`."""
    if not is_measured():
        return await _take(context, notification, early)
    node, began = context.node, context.node.clock.now()
    await _take(context, notification, early)
    method = notification.method if node.kernel.has_method(notification.method) else "unknown"
    version, seconds = context.session.protocol_version, node.clock.now() - began
    node.kernel.durations.record_notification(method, version, seconds, context.request.http_version)


async def _take(context: SessionRequest, notification: Notification, early: object) -> None:
    node = context.node
    if notification.method == "notifications/cancelled":
        request_id = (notification.params or {}).get("requestId")
        # 2025-11-25, basic/utilities/cancellation, "Error Handling": malformed ones are ignored.
        if early is None and is_request_id(request_id):
            await _cancel(node, context.session.key, context.session.principal, request_id)
        return
    if notification.method == "notifications/initialized":
        recorded = node.tasks.spawn(_record_initialized(node, context.session.key))
        if not context.request.streaming:
            await asyncio.wait([recorded])
    if not node.kernel.has_listener(notification):
        return
    channel = SessionChannel(node, context.session.key)
    exchange = node.exchange(context.client_info(), channel, context.caller())
    handled = node.tasks.spawn(_handle(context, exchange, notification), copy_context())
    if context.request.memory is not None:
        context.request.memory.hold_until_done(handled)
    if not context.request.streaming:
        await asyncio.wait([handled])  # the loop ends with this request


async def _handle(context: SessionRequest, exchange: Exchange, notification: Notification) -> None:
    current_call.set((context.session.key, None, context.principal, notification.method))
    try:
        async with context.node.call_context(context.request, context.principal):
            await context.node.kernel.notify(exchange, notification)
    except BaseException as error:
        if is_cancellation(error):
            raise
        logger.exception("the context of %s failed", notification.method)


async def _record_initialized(node: Node, key: str) -> None:
    with suppress(BackendError):  # only operators see it
        await node.backend.sessions.update(key, initialized=True)


async def _send_reply(node: Node, sender: str, reply: Response) -> bool:
    """Send a reply to the node that waits for it; instead of a too long or malformed one, send an error.

    Raises:
        ProtocolError: 400 with -32602 for a reply that is too long, with -32600 for a malformed one.
    """
    result, error, fault = reply.result, reply.error, _reply_fault(reply)
    if fault is not None:
        result, error = None, {"code": fault.code, "message": fault.message}
    arrived = ReplyArrived(str(reply.id), result, error)
    await node.client_requests.forward_once(arrived.request_id, lambda: node.backend.bus.send(sender, arrived))
    if fault is not None:
        raise fault
    return True


def _reply_fault(reply: Response) -> ProtocolError | None:
    if reply.fault:
        return invalid_request(reply.fault)
    try:
        check_answer(reply.error or reply.result or {})
    except LimitError as error:
        return ProtocolError(400, error.code, error.message)
    return None


async def _cancel(node: Node, key: str, principal: str, request_id: RequestId) -> bool:
    entry = await node.backend.sessions.cancel(key, principal, request_id)
    if entry is not None:
        node.send_in_background(entry.node, CancelCall(key, request_id, stream=entry.stream))
    return True
