"""The audit of a tool call."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mcp_transport.domain.audit_events import ToolCalled
from mcp_transport.domain.history import AnyEnding, Ending
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import short_id
from mcp_transport.engine.observer import Observer
from mcp_transport.protocol.jsonrpc import Request

__all__ = ["AuditedCall", "audit_call"]


@dataclass(frozen=True, slots=True)
class AuditedCall:
    """A tool call that has ended on a node; `key` is "" without a session."""

    request: Request
    ended: AnyEnding
    principal: Principal
    address: str
    key: str
    node: str = ""


def audit_call(observer: Observer, call: AuditedCall, *, when: float, seconds: float) -> None:
    """Audit a tool call that ended at the time `when` and took `seconds`."""
    params, ending, failure = call.request.params or {}, call.ended.ending, call.ended.failure
    keeps = observer.auditor is not None and observer.auditor.keeps_arguments
    observer.audit(
        ToolCalled(
            when=when,
            principal=call.principal,
            tool=str(params.get("name", ""))[:200],
            outcome=ending.value if ending in (Ending.OK, Ending.CANCELLED) else "error",
            seconds=seconds,
            session=short_id(call.key) if call.key else "",
            request=json.dumps(call.request.id),
            node=call.node,
            kind=failure.kind if failure is not None else "",
            error=failure.error if failure is not None else "",
            code=failure.code if failure is not None else None,
            message=failure.message if failure is not None else "",
            address=call.address,
            arguments=params.get("arguments") if keeps else None,
        )
    )
