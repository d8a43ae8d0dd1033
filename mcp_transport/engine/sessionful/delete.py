"""Ends a session on every node: for a client (DELETE), for eviction, and for staff."""

from __future__ import annotations

import asyncio
import logging

from mcp_transport.backends.base import Backend
from mcp_transport.backends.results import Closing
from mcp_transport.domain.audit_events import SessionClosed
from mcp_transport.domain.node_messages import Closed
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.node import Node
from mcp_transport.engine.observer import Observer
from mcp_transport.engine.sessionful.request_context import with_rehydration
from mcp_transport.engine.tasks import ignore_outage
from mcp_transport.kernel import is_measured, record_session
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.request_checks import check_version, required_session_id, session_not_found

__all__ = ["close_session", "close_session_for_staff", "delete"]

logger = logging.getLogger(__name__)


async def delete(node: Node, request: HTTPRequest, principal: Principal) -> Reply:
    """End the session with its calls and streams on all nodes.

    Raises:
        ProtocolError: 400 for a missing session id, 404 for an unknown session.
    """
    session_id = required_session_id(request)
    check_version(request, node.policy)
    key = session_key(session_id)

    async def close() -> Closing | None:
        return await close_session(node, key, principal.binding, reason="client")

    if not await with_rehydration(node, session_id, principal, close):
        raise session_not_found()
    return Reply(status=204)


async def close_session(node: Node, key: str, principal: str | None, *, reason: str) -> Closing | None:
    """End a session, and notify the nodes in the background; return None if `principal` has no such session."""
    closing = await _close(node.backend, node.observer, node.clock.now(), key, principal, reason)
    for name in closing.nodes if closing is not None else ():
        node.send_in_background(name, Closed(key))
    return closing


async def close_session_for_staff(backend: Backend, observer: Observer, now: float, key: str) -> bool:
    """End anybody's session from a loop that may have no node: wait until the nodes are notified."""
    closing = await _close(backend, observer, now, key, None, "staff")
    nodes = closing.nodes if closing is not None else ()
    await asyncio.gather(*(ignore_outage(backend.bus.send(name, Closed(key))) for name in nodes))
    return closing is not None


async def _close(
    backend: Backend, observer: Observer, now: float, key: str, principal: str | None, reason: str
) -> Closing | None:
    """Delete a session, then log and audit its end; the nodes of the result must be notified."""
    closing = await backend.sessions.close(key, principal)
    if closing is not None:
        if is_measured():
            record_session(now - closing.session.created, closing.session.protocol_version)
        logger.info("session %s closed", short_id(key))
        if observer.audits(SessionClosed):
            owner = Principal.from_binding(closing.session.principal, closing.session.user)
            observer.audit(SessionClosed(when=now, principal=owner, session=short_id(key), reason=reason))
    return closing
