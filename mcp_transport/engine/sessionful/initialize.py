"""`initialize`: the start of a session."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from mcp_transport.backends.results import NoRoom
from mcp_transport.domain.audit_events import SessionOpened
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import Session, session_key, short_id
from mcp_transport.engine.codec import encode, encoded_size
from mcp_transport.engine.node import Node
from mcp_transport.engine.reply import complete_reply
from mcp_transport.engine.session_channel import SessionChannel
from mcp_transport.engine.session_id import seal
from mcp_transport.engine.sessionful.delete import close_session
from mcp_transport.engine.sessionful.request_context import SessionRequest
from mcp_transport.exceptions import ProtocolError
from mcp_transport.kernel import is_measured
from mcp_transport.protocol.errors import INVALID_PARAMS, INVALID_REQUEST
from mcp_transport.protocol.http import HTTPRequest, Reply
from mcp_transport.protocol.jsonrpc import Outcome, Request
from mcp_transport.protocol.versions import negotiate

__all__ = ["open_session"]

# Stored with the session and read with every request.
_MAX_CLIENT_BYTES: Final = 16 * 1024

# For a caller whose sessions are all busy.
_RETRY_AFTER_SECONDS: Final = 5

logger = logging.getLogger(__name__)


async def open_session(node: Node, request: HTTPRequest, message: Request, principal: Principal) -> Reply:
    """Answer `initialize` and, if it succeeds, store a session for the principal.

    Raises:
        BackendError: the session cannot be stored.
        ProtocolError: 400 / -32602 for too long client information; 429 if the caller has reached its session limit
            and all of its sessions are busy.
    """
    params = dict(message.params or {})
    version = negotiate(params.get("protocolVersion"), node.policy.versions)
    if isinstance(params.get("protocolVersion"), str):
        params["protocolVersion"] = version
    info: Any = params.get("clientInfo")
    capabilities: Any = params.get("capabilities")
    is_valid = isinstance(info, dict) and isinstance(capabilities, dict)  # else the kernel refuses the request
    if encoded_size(info, capabilities) > _MAX_CLIENT_BYTES:
        raise ProtocolError(
            400, INVALID_PARAMS, f"clientInfo and capabilities may have at most {_MAX_CLIENT_BYTES} bytes in total"
        )
    now = node.clock.now()
    session = Session(
        key="",
        protocol_version=version,
        client_info=info if is_valid else {},
        capabilities=capabilities if is_valid else {},
        principal=principal.binding,
        user=principal.name,
        address=request.peer,
        user_agent=request.headers.get("user-agent", "")[:200],
        node=node.id,
        region=node.policy.region,
        created=now,
        last_seen=now,
        ends=now + node.policy.session_max_age,
    )
    session_id = _new_id(node, session) if is_valid else seal(session, ())
    session = replace(session, key=session_key(session_id))
    context = SessionRequest(node, request, principal, session, session_id)
    channel = SessionChannel(node, session.key)
    exchange = node.exchange(context.client_info(), channel, context.caller(), message)
    outcome = await node.kernel.initialize(exchange, params)
    _measure(node, request, session, outcome)
    accepts = request.headers.accepts
    if outcome.error is not None:
        return complete_reply(encode(outcome.body(message.id)), accepts)
    await _store(node, session)
    node.call_metrics.record_session()
    if node.observer.audits(SessionOpened):
        node.observer.audit(_opened(session, principal))
    return complete_reply(encode(outcome.body(message.id)), accepts, headers=(("Mcp-Session-Id", session_id),))


def _new_id(node: Node, session: Session) -> str:
    """Return an id that contains the session, for stores in which it can be restored, or its home region."""
    is_sealed = node.backend.sessions.restores_sessions or session.region
    return seal(session, node.session_keys if is_sealed else ())


def _measure(node: Node, request: HTTPRequest, session: Session, outcome: Outcome) -> None:
    if is_measured():
        seconds, version = node.clock.now() - session.created, session.protocol_version
        node.kernel.durations.record("initialize", version, seconds, outcome, request.http_version)


def _opened(session: Session, principal: Principal) -> SessionOpened:
    return SessionOpened(
        when=session.created,
        principal=principal,
        session=short_id(session.key),
        address=session.address,
        client=str(session.client_info.get("name", ""))[:200],
    )


def _too_many(limit: int) -> ProtocolError:
    text = (
        f"a caller may have at most {limit} sessions, and all of yours run a request: "
        "end one with DELETE, or try again later"
    )
    return ProtocolError(429, INVALID_REQUEST, text, headers=(("Retry-After", str(_RETRY_AFTER_SECONDS)),))


async def _store(node: Node, session: Session) -> None:
    try:
        idle = await node.backend.sessions.open(session)
    except NoRoom:
        logger.info("session refused for %.80r: session limit reached, and all sessions are busy", session.user)
        raise _too_many(node.policy.max_sessions_per_principal) from None
    for key in idle:
        logger.info("session %s evicted: session limit of its principal reached", short_id(key))
        node.call_metrics.record_refusal("room")
        await close_session(node, key, None, reason="limit")
    logger.info("session %s opened by %.80r", short_id(session.key), session.client_info.get("name", ""))
