"""What the running call is, for log lines; a tuple of what there is anyway, since every call sets it."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Final

from mcp_transport.domain.principal import Principal
from mcp_transport.domain.session import short_id
from mcp_transport.protocol.jsonrpc import RequestId

__all__ = ["CallLabel", "current_call", "label_fields", "label_text", "quote_detail"]

CallLabel = tuple[str, RequestId | None, Principal, str]
"""The key of the session or "", the id of the request, None for a notification, the caller, and the operation."""

current_call: Final[ContextVar[CallLabel | None]] = ContextVar("mcp_transport_current_call", default=None)
"""Set in the task of a handler, and so in the tasks and threads that it starts."""

_MAX_DETAIL_LENGTH: Final = 80
_TOOL_CALL: Final = "tools/call "


def label_fields(label: CallLabel) -> dict[str, str]:
    """Return the fields of a call that log lines and records have; one that is empty is left out."""
    key, request_id, principal, operation = label
    fields = {
        "session": short_id(key),
        "request": "" if request_id is None else json.dumps(request_id),
        "user": principal.name,
        "tool": operation.removeprefix(_TOOL_CALL) if operation.startswith(_TOOL_CALL) else "",
    }
    return {name: value for name, value in fields.items() if value}


def label_text(fields: dict[str, str]) -> str:
    """Format the fields as the end of a log line."""
    return " ".join(f"{name}={quote_detail(value)}" for name, value in fields.items())


def quote_detail(value: object) -> str:
    """Format a value that may come from a client: truncated, and quoted unless it is one plain word."""
    text = str(value)
    text = text if len(text) <= _MAX_DETAIL_LENGTH else f"{text[:_MAX_DETAIL_LENGTH]}..."
    return text if text.isascii() and text.isprintable() and not set(text) & set(" \"'=") and text else ascii(text)
