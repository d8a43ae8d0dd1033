"""The signal receiver that records events."""

from __future__ import annotations

from typing import Any, Final

from mcp_transport import signals
from mcp_transport.contrib.audit.models import AuditEntry
from mcp_transport.domain.audit_events import AuditEvent

__all__ = ["connect", "disconnect"]

_UID: Final = "mcp_transport.contrib.audit"

_SIGNALS: Final = (signals.session_opened, signals.session_closed, signals.tool_called, signals.access_denied)


def connect() -> None:
    """Connect the receiver to all signals; connecting it twice has no effect."""
    for signal in _SIGNALS:
        signal.connect(_record, dispatch_uid=_UID)


def disconnect() -> None:
    """Disconnect the receiver, for tests."""
    for signal in _SIGNALS:
        signal.disconnect(dispatch_uid=_UID)


def _record(event: AuditEvent, **kwargs: Any) -> None:
    AuditEntry.objects.record(event)
