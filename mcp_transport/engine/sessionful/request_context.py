"""A POST that its session admitted."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import Session
from mcp_transport.engine.node import Node
from mcp_transport.engine.session_handle import SessionHandle
from mcp_transport.kernel import Caller, ClientInfo
from mcp_transport.protocol.headers import Accepts
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.versions import REVISIONS

__all__ = ["SessionRequest"]


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """One POST to a session that admitted it."""

    node: Node
    request: HTTPRequest
    principal: Principal
    session: Session
    session_id: str = field(repr=False)
    is_rerun: bool = False
    """Is it run again for a node that was lost? Then nobody has sent `request`."""

    @property
    def sent(self) -> HTTPRequest | None:
        """Return the request that a client has sent, if one has."""
        return None if self.is_rerun else self.request

    @property
    def accepts(self) -> Accepts:
        """Return which answers the client takes; without streaming, JSON is all there is."""
        accepts = Accepts.parse(self.request.headers)
        return accepts if self.request.streaming else Accepts(json=accepts.json, sse=False)

    @property
    def owner(self) -> str:
        """Return what proves that a reply comes from the client that was asked."""
        return f"{self.session.key}\n{self.session.principal}"

    @property
    def polling(self) -> bool:
        """Tell whether the client knows priming events and polling."""
        return REVISIONS[self.session.protocol_version].polling

    def caller(self) -> Caller:
        """Describe the caller to a handler."""
        return Caller(self.request, self.principal, SessionHandle(self.node.backend, self.session.key))

    def facts(self) -> ClientInfo:
        """Describe the client to the kernel."""
        return ClientInfo(
            protocol_version=self.session.protocol_version,
            client_info=self.session.client_info,
            capabilities=self.session.capabilities,
            session_id=self.session_id or None,
        )
