"""`initialize`: a session begins."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from mcp_transport.engine.call import SessionOutlet
from mcp_transport.engine.codec import encode, encoded_size
from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import answer
from mcp_transport.engine.session_id import seal
from mcp_transport.engine.sessionful.closing import close_session
from mcp_transport.engine.sessionful.visit import Visit
from mcp_transport.engine.writer import Writer
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.errors import INVALID_PARAMS
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.jsonrpc import Request
from mcp_transport.protocol.principal import Principal
from mcp_transport.protocol.session import Session, session_key, short_id
from mcp_transport.protocol.versions import negotiate

__all__ = ["open_session"]

# What a client says of itself is stored with its session and read with every request.
_MAX_CLIENT_BYTES: Final = 16 * 1024

logger = logging.getLogger(__name__)


async def open_session(node: Node, request: HTTPRequest, message: Request, principal: Principal) -> Reply:
    """Answer `initialize` and, if it succeeded, open a session for its principal.

    Raises:
        BackendError: the session could not be stored.
    """
    params = dict(message.params or {})
    version = negotiate(params.get("protocolVersion"), node.policy.versions)
    if isinstance(params.get("protocolVersion"), str):
        params["protocolVersion"] = version
    now = node.clock.now()
    session = Session(
        key="",
        protocol_version=version,
        principal=principal.binding,
        user=principal.name,
        address=request.peer,
        user_agent=request.headers.get("user-agent", "")[:200],
        node=node.id,
        created=now,
        last_seen=now,
        ends=now + node.policy.session_max_age,
    )
    session_id = _mint(node, session, params)
    session = replace(session, key=session_key(session_id))
    visit = Visit(node, request, principal, session, session_id)
    writer = Writer(node, session, "")
    outlet = SessionOutlet(node, writer, owner="", log_level="", can_stream=False, polling=False)
    exchange = node.exchange(visit.facts(), outlet, visit.caller(), message)
    outcome = await node.kernel.initialize(exchange, params)
    accepts = Accepts.parse(request.headers)
    if outcome.error is not None:
        return answer(encode(outcome.body(message.id)), accepts)
    await _store(visit, params["clientInfo"], params["capabilities"])
    return answer(encode(outcome.body(message.id)), accepts, headers=(("Mcp-Session-Id", session_id),))


def _mint(node: Node, session: Session, params: dict[str, Any]) -> str:
    """Make the session's id: one that says what the session is, where the store can be told again."""
    info, capabilities = params.get("clientInfo"), params.get("capabilities")
    if not node.backend.restores_sessions or not isinstance(info, dict) or not isinstance(capabilities, dict):
        return seal(session, ())
    return seal(replace(session, client_info=info, capabilities=capabilities), node.session_keys)


async def _store(visit: Visit, client_info: dict[str, object], capabilities: dict[str, object]) -> None:
    node = visit.node
    if encoded_size(client_info, capabilities) > _MAX_CLIENT_BYTES:
        raise ProtocolError(
            400, INVALID_PARAMS, f"clientInfo and capabilities may hold {_MAX_CLIENT_BYTES} bytes together"
        )
    session = replace(visit.session, client_info=client_info, capabilities=capabilities)
    for key in await node.backend.open(session):
        logger.info("session %s makes room for a new one of the same principal", short_id(key))
        await close_session(node, key, None)
    logger.info("session %s opened by %.80r", short_id(session.key), client_info.get("name", ""))
