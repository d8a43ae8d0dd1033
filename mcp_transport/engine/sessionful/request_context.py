"""A POST admitted to its session, and admission itself, which rebuilds a session that the store has lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import Session, session_key, short_id
from mcp_transport.engine.node import Node
from mcp_transport.engine.session_handle import SessionHandle
from mcp_transport.engine.session_id import unseal
from mcp_transport.exceptions import Unreadable
from mcp_transport.kernel import Caller, ClientInfo
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.supervision import log_failure

__all__ = ["SessionRequest", "with_rehydration"]

_T = TypeVar("_T")


async def with_rehydration(
    node: Node, session_id: str, principal: Principal, enter: Callable[[], Awaitable[_T | None]]
) -> _T | None:
    """Run `enter`; if the store has no such session, rebuild it from its id, where possible, and run `enter` again.

    A session whose record cannot be read counts as one without a record.
    """
    if node.backend.sessions.has_homes:
        node.backend.sessions.locate(session_key(session_id), lambda: _origin(node, session_id, principal))
    try:
        entered = await enter()
        if entered is None and node.backend.sessions.restores_sessions:
            session = unseal(session_id, node.session_keys, principal.binding, node.clock.now())
            if session is not None and await node.restore(session):
                return await enter()
    except Unreadable as error:
        log_failure(f"session {short_id(session_key(session_id))} cannot be read, and is unknown", error)
        return None
    return entered


def _origin(node: Node, session_id: str, principal: Principal) -> str:
    """Return the region in which a session was opened, "" if its id does not tell."""
    session = unseal(session_id, node.session_keys, principal.binding, node.clock.now())
    return session.region if session is not None else ""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A POST that its session has admitted."""

    node: Node
    request: HTTPRequest
    principal: Principal
    session: Session
    session_id: str = field(repr=False)
    is_rerun: bool = False
    """Does the request run again after its node was lost? Then no client has sent `request`."""

    @property
    def sent_request(self) -> HTTPRequest | None:
        """Return the request if a client has sent it, or None for a rerun."""
        return None if self.is_rerun else self.request

    @property
    def accepts(self) -> Accepts:
        """Return which responses the client accepts; without streaming, that is only JSON."""
        accepts = self.request.headers.accepts
        return accepts if self.request.streaming else Accepts(json=accepts.json, sse=False)

    def caller(self) -> Caller:
        """Describe the caller to a handler."""
        return Caller(self.request, self.principal, SessionHandle(self.node.backend, self.session.key))

    def client_info(self) -> ClientInfo:
        """Describe the client to the kernel."""
        return ClientInfo(
            protocol_version=self.session.protocol_version,
            client_info=self.session.client_info,
            capabilities=self.session.capabilities,
            session_id=self.session_id or None,
        )
