"""The way into a session, also into one that its store has lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key, short_id
from mcp_transport.engine.node import Node
from mcp_transport.engine.session_id import unseal
from mcp_transport.exceptions import Unreadable
from mcp_transport.supervision import log_failure

__all__ = ["admitted"]

_T = TypeVar("_T")


async def admitted(
    node: Node, session_id: str, principal: Principal, enter: Callable[[], Awaitable[_T | None]]
) -> _T | None:
    """Do what needs the session; if there is none, rebuild it from its id, where that is possible, and try again.

    A session whose record cannot be read is as unknown as one without a record.
    """
    try:
        found = await enter()
        if found is None and node.backend.restores_sessions:
            session = unseal(session_id, node.session_keys, principal.binding, node.clock.now())
            if session is not None and await node.restore(session):
                return await enter()
    except Unreadable as error:
        log_failure(f"session {short_id(session_key(session_id))} cannot be read, and is unknown", error)
        return None
    return found
