"""Session-based revisions (2025-03-26 to 2025-11-25): POST, GET and DELETE, on any node."""

from __future__ import annotations

from mcp_transport.engine.sessionful.delete import close_session_for_staff, delete
from mcp_transport.engine.sessionful.failover import FailOver, PrincipalLookup
from mcp_transport.engine.sessionful.initialize import open_session
from mcp_transport.engine.sessionful.post import post
from mcp_transport.engine.sessionful.streams import get

__all__ = ["FailOver", "PrincipalLookup", "close_session_for_staff", "delete", "get", "open_session", "post"]
