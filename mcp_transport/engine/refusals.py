"""Requests that were refused for load before they were admitted: what operators are told of them.

They come in floods, so that a caller's refusals by one limit are noted once in a while, and counted otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mcp_transport.domain.audit_events import ToolCalled
from mcp_transport.domain.history import Ending, Failure, FailureKind, HistoryEntry, HistoryEvent
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import session_key
from mcp_transport.engine.audited_call import AuditedCall, audit_call
from mcp_transport.engine.call_failure import describe_failure, log_failure_of
from mcp_transport.engine.node import Node
from mcp_transport.engine.tasks import ignore_outage
from mcp_transport.exceptions import ProtocolError
from mcp_transport.protocol.http import HTTPRequest
from mcp_transport.protocol.jsonrpc import Outcome, Request
from mcp_transport.protocol.request_checks import SessionlessPost, SessionPost

__all__ = ["NOTE_SECONDS", "RefusalNotes"]

NOTE_SECONDS: Final = 10.0
"""How often the refusals of one caller by one limit are noted."""

_MAX_CALLERS: Final = 1000
_MAX_NOTED: Final = 10


class RefusalNotes:
    """Logs and audits the first refusals of each caller, and adds them to the histories of their sessions."""

    def __init__(self) -> None:
        self._next: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(
        self,
        node: Node | None,
        request: HTTPRequest,
        error: ProtocolError,
        work: SessionPost | SessionlessPost,
        principal: Principal,
    ) -> None:
        """Note a POST that was refused for load, unless its caller's refusals by this limit were noted just now."""
        is_in_session = isinstance(work, SessionPost)
        requests = work.requests if isinstance(work, SessionPost) else [work.request]
        session_id = (request.headers.get("mcp-session-id") or "") if is_in_session else ""
        if (
            node is None
            or not requests
            or not self._is_due(principal.caller(request.peer), error.reason, node.clock.monotonic())
        ):
            return
        key = session_key(session_id) if session_id else ""
        for item in requests[:_MAX_NOTED]:
            self._note(node, request, error, item, principal, key)

    def _is_due(self, caller: str, limit: str, now: float) -> bool:
        name = (caller, limit)
        if self._next.get(name, 0.0) > now:
            return False
        self._next[name] = now + NOTE_SECONDS
        self._next.move_to_end(name)
        if len(self._next) > _MAX_CALLERS:
            self._next.popitem(last=False)
        return True

    def _note(
        self, node: Node, request: HTTPRequest, error: ProtocolError, item: Request, principal: Principal, key: str
    ) -> None:
        outcome = Outcome(error={"code": error.code, "message": error.message})
        forced = Failure(ending=Ending.ERROR, kind=FailureKind.REFUSED, error=error.reason)
        failure, now = describe_failure(forced, item, outcome, node.policy), node.clock.now()
        log_failure_of(failure, (key, item.id, principal, item.operation), 0.0, node.id)
        if item.method == "tools/call" and not item.hidden and node.observer.audits(ToolCalled):
            call = AuditedCall(item, failure, principal, request.peer, key, node.id)
            audit_call(node.observer, call, when=now, seconds=0.0)
        if key and not node.freezes:
            entry = HistoryEntry(
                when=now,
                what=HistoryEvent.ENDED,
                node=node.id,
                operation=item.operation,
                request_id=item.id,
                ending=failure.ending,
                failure=failure,
            )
            node.tasks.spawn(ignore_outage(node.backend.sessions.note(key, principal.binding, entry)))
