"""The audit of a tool call."""

from __future__ import annotations

from dataclasses import dataclass

from mcp_transport.domain.audit_events import ToolCalled
from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import short_id
from mcp_transport.engine.observer import Observer
from mcp_transport.protocol.jsonrpc import Outcome, Request

__all__ = ["AuditedCall", "audit_call"]


@dataclass(frozen=True, slots=True)
class AuditedCall:
    """A tool call that has ended; `outcome` is None if it was cancelled, `key` is "" without a session."""

    request: Request
    outcome: Outcome | None
    principal: Principal
    address: str
    key: str


def audit_call(observer: Observer, call: AuditedCall, *, when: float, seconds: float) -> None:
    """Audit a tool call that ended at the time `when` and took `seconds`."""
    params, outcome = call.request.params or {}, call.outcome
    keeps = observer.auditor is not None and observer.auditor.keeps_arguments
    observer.audit(
        ToolCalled(
            when=when,
            principal=call.principal,
            tool=str(params.get("name", ""))[:200],
            outcome="cancelled" if outcome is None else "error" if outcome.failed else "ok",
            seconds=seconds,
            session=short_id(call.key) if call.key else "",
            address=call.address,
            arguments=params.get("arguments") if keeps else None,
        )
    )
