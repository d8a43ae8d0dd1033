"""DELETE: a session ends."""

from __future__ import annotations

import logging

from mcp_transport.backends.base import Closing
from mcp_transport.domain.audit_events import SessionClosed
from mcp_transport.domain.node_messages import Closed
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.node import Node
from mcp_transport.engine.sessionful.request_context import with_rehydration
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.request_checks import check_version, required_session_id, session_not_found

__all__ = ["close_session", "delete"]

logger = logging.getLogger(__name__)


async def delete(node: Node, request: HTTPRequest, principal: Principal) -> Reply:
    """End the session: its calls, its streams, everywhere.

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
    """End a session and tell every node that has a part of it; return None if there is none for `principal`."""
    closing = await node.backend.close(key, principal)
    if closing is not None:
        for name in closing.nodes:
            node.send_in_background(name, Closed(key))
        logger.info("session %s closed", short_id(key))
        if node.observer.audits(SessionClosed):
            owner = Principal.from_binding(closing.session.principal, closing.session.user)
            node.observer.audit(
                SessionClosed(when=node.clock.now(), principal=owner, session=short_id(key), reason=reason)
            )
    return closing
